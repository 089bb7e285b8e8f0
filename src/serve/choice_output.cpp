#include "serve/choice_output.h"

#include <algorithm>

#include "text/utf8.h"

namespace lockstep::serve {
namespace {

// Enough for a character in pieces and the space before a word.
constexpr size_t kContextTokens = 8;

// As if the last tokens of the prompt had been decoded before: what they settle is the prompt's.
void read_context(text::Detokenizer& detokenizer, std::span<const int32_t> prompt_ids) {
  const size_t n = std::min(prompt_ids.size(), kContextTokens);
  for (const int32_t id : prompt_ids.last(n)) detokenizer.push_unstopped(id);
}

}  // namespace

PromptText describe_prompt(const ServedModel& model, const std::vector<int32_t>& ids,
                           const std::optional<std::string>& text) {
  PromptText prompt;
  prompt.records.resize(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) prompt.records[i].id = ids[i];
  if (!model.tokenizer.has_value()) return prompt;
  // Tokens that the tokenizer adds stand in the list, not in the text.
  size_t n_added = 0;
  if (text.has_value()) {
    const std::vector<int32_t> prefix = model.tokenizer->prefix_ids();
    if (ids.size() >= prefix.size() && std::equal(prefix.begin(), prefix.end(), ids.begin())) {
      n_added = prefix.size();
    }
  }
  text::Detokenizer detokenizer(*model.tokenizer);
  size_t offset = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    TokenRecord& record = prompt.records[i];
    record.text_offset = offset;
    record.text = detokenizer.push(ids[i]);
    if (i + 1 == ids.size()) record.text += detokenizer.finish();
    if (i < n_added) continue;
    prompt.text += record.text;
    offset += text::count_code_points(record.text);
  }
  if (text.has_value() && prompt.text != *text) {
    // A normalizer changed it: the places are those in the text as tokens have it.
    prompt.text = *text;
    const size_t length = text::count_code_points(*text);
    for (TokenRecord& record : prompt.records) {
      record.text_offset = std::min(record.text_offset, length);
    }
  }
  return prompt;
}

ChoiceOutput::ChoiceOutput(const ServedModel& model, const GenerationRequest& request,
                           std::span<const int32_t> prompt_ids, size_t text_offset)
    : model_(model), request_(request), text_offset_(text_offset) {
  if (!model.tokenizer.has_value()) return;
  const text::DecodeOptions options{.skip_special_tokens = request.sampling.skip_special_tokens};
  text_.emplace(*model.tokenizer, options, request.sampling.stop);
  read_context(*text_, prompt_ids);
  if (request.logprobs.has_value()) {
    slices_.emplace(*model.tokenizer, options);
    read_context(*slices_, prompt_ids);
  }
}

OutputDelta ChoiceOutput::push(TokenEvent&& event) {
  OutputDelta delta;
  if (finished_) return delta;
  if (event.token.has_value()) {
    ++n_tokens_;
    // The token that ends the text is none of it, unless asked for.
    const bool is_text =
        event.finish != FinishReason::kStop || request_.sampling.include_stop_str_in_output;
    delta.token_ids.push_back(*event.token);
    add_token(*event.token, is_text, delta);
    if (request_.logprobs.has_value()) {
      add_record(*event.token, is_text, std::move(event.logprobs), delta);
    }
  }
  if (found_stop_string_ || event.finish != FinishReason::kNone) finish(event, delta);
  return delta;
}

void ChoiceOutput::add_token(int32_t id, bool is_text, OutputDelta& delta) {
  if (!text_.has_value() || !is_text) return;
  delta.text =
      n_tokens_ <= request_.sampling.min_tokens ? text_->push_unstopped(id) : text_->push(id);
  found_stop_string_ = text_->stopped();
}

void ChoiceOutput::add_record(int32_t id, bool is_text, std::optional<PositionLogprobs> logprobs,
                              OutputDelta& delta) {
  TokenRecord record{id, {}, text_offset_, std::move(logprobs)};
  if (slices_.has_value() && is_text) record.text = slices_->push(id);
  text_offset_ += text::count_code_points(record.text);
  // A token that adds no text has its name in the list, as in vLLM's.
  if (record.text.empty() && model_.tokenizer.has_value() && model_.tokenizer->is_special(id)) {
    record.text = model_.token_text(id);
  }
  delta.records.push_back(std::move(record));
}

void ChoiceOutput::finish(const TokenEvent& event, OutputDelta& delta) {
  finished_ = delta.finished = true;
  if (slices_.has_value() && !delta.records.empty()) delta.records.back().text += slices_->finish();
  if (text_.has_value() && !found_stop_string_) {
    delta.text += text_->finish();
    found_stop_string_ = text_->stopped();
  }
  if (found_stop_string_) {
    delta.finish_reason = "stop";
    delta.stop_reason = text_->stop_string();
    if (request_.sampling.include_stop_str_in_output) delta.text += text_->stop_string();
    return;
  }
  delta.finish_reason = finish_reason_name(event.finish);
  if (event.stop_token.has_value()) delta.stop_reason = *event.stop_token;
}

}  // namespace lockstep::serve
