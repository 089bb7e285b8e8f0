#include "serve/generation.h"

#include <fmt/format.h>

#include <algorithm>

namespace lockstep::serve {
namespace {

// vLLM's: each word as it stands and as it continues a text, when that is another first token.
std::vector<std::vector<int32_t>> encode_bad_words(const text::Tokenizer& tokenizer,
                                                   const std::vector<std::string>& words) {
  std::vector<std::vector<int32_t>> all;
  for (const std::string& word : words) {
    const size_t begin = std::min(word.find_first_not_of(' '), word.size());
    const std::string bare = word.substr(begin);
    std::vector<int32_t> plain = tokenizer.encode(bare, {.add_special_tokens = false});
    std::vector<int32_t> spaced = tokenizer.encode(" " + bare, {.add_special_tokens = false});
    const bool differs = !plain.empty() && !spaced.empty() && spaced.size() == plain.size() &&
                         spaced.front() != plain.front();
    if (!plain.empty()) all.push_back(std::move(plain));
    if (differs) all.push_back(std::move(spaced));
  }
  return all;
}

ApiError too_long(int64_t max_length, int64_t n_prompt, const std::string& param) {
  return {400,
          fmt::format("This model's maximum context length is {} tokens. However, your request has "
                      "{} input tokens. Please reduce the length of the input.",
                      max_length, n_prompt),
          param};
}

}  // namespace

Result<EncodedPrompt> encode_prompt(const ServedModel& model, Prompt prompt,
                                    bool add_special_tokens, const std::string& param) {
  if (auto* ids = std::get_if<std::vector<int32_t>>(&prompt)) {
    return EncodedPrompt{std::move(*ids), std::nullopt};
  }
  std::string& text = std::get<std::string>(prompt);
  if (!model.tokenizer.has_value()) {
    return ApiError{400, param + ": the model has no tokenizer; give token ids", param};
  }
  try {
    EncodedPrompt encoded{model.tokenizer->encode(text, {.add_special_tokens = add_special_tokens}),
                          std::nullopt};
    if (encoded.ids.empty()) return ApiError{400, param + ": the text has no tokens", param};
    encoded.text = std::move(text);
    return encoded;
  } catch (const Error& error) {
    return to_api_error(error, param);
  }
}

void truncate_prompt(EncodedPrompt& prompt, std::optional<int64_t> length, int64_t most) {
  if (!length.has_value()) return;
  const int64_t keep = std::max<int64_t>(1, *length < 0 ? most : std::min(*length, most));
  const auto n = static_cast<int64_t>(prompt.ids.size());
  if (n <= keep) return;
  prompt.ids.erase(prompt.ids.begin(), prompt.ids.end() - keep);
  prompt.text.reset();
}

Result<SamplingParams> to_sampling_params(const ServedModel& model, const Engine& engine,
                                          const GenerationRequest& request, int64_t n_prompt,
                                          const std::string& prompt_param) {
  const int64_t room = engine.max_length() - n_prompt;
  const bool generates = request.max_tokens.value_or(1) > 0;
  if (room < (generates ? 1 : 0)) return too_long(engine.max_length(), n_prompt, prompt_param);
  const bool is_asked = request.max_tokens.has_value() && !request.max_tokens_param.empty();
  if (is_asked && *request.max_tokens > room) {
    return ApiError{400,
                    fmt::format("'{}' is too large: {}. This model's maximum context length is {} "
                                "tokens and your request has {} input tokens ({} > {} - {}).",
                                request.max_tokens_param, *request.max_tokens, engine.max_length(),
                                n_prompt, *request.max_tokens, engine.max_length(), n_prompt),
                    request.max_tokens_param};
  }
  const Sampling& asked = request.sampling;
  SamplingParams params = engine.defaults().params;
  if (asked.temperature) params.temperature = *asked.temperature;
  if (asked.top_p) params.top_p = *asked.top_p;
  if (asked.min_p) params.min_p = *asked.min_p;
  if (asked.top_k) params.top_k = *asked.top_k;
  if (asked.repetition_penalty) params.repetition_penalty = *asked.repetition_penalty;
  params.presence_penalty = asked.presence_penalty;
  params.frequency_penalty = asked.frequency_penalty;
  params.logit_bias = asked.logit_bias;
  params.allowed_token_ids = asked.allowed_token_ids;
  params.min_tokens = asked.min_tokens;
  params.ignore_eos = asked.ignore_eos;
  params.stop_token_ids = asked.stop_token_ids;
  if (asked.seed) params.seed = static_cast<uint64_t>(*asked.seed);
  if (!asked.bad_words.empty()) {
    if (!model.tokenizer.has_value()) {
      return ApiError{400, "bad_words: the model has no tokenizer", "bad_words"};
    }
    params.bad_words = encode_bad_words(*model.tokenizer, asked.bad_words);
  }
  if (!asked.stop.empty() && !model.tokenizer.has_value()) {
    return ApiError{400, "stop: the model has no tokenizer", "stop"};
  }
  params.max_tokens =
      std::min(room, request.max_tokens.value_or(engine.defaults().max_new_tokens.value_or(room)));
  params.min_tokens = std::min(params.min_tokens, params.max_tokens);
  params.logprobs = request.logprobs;
  params.prompt_logprobs = request.prompt_logprobs;
  if (request.echo && request.logprobs.has_value() && !params.prompt_logprobs.has_value()) {
    params.prompt_logprobs = request.logprobs;
  }
  return params;
}

EngineCalls::~EngineCalls() {
  for (size_t i = 0; i < ids_.size(); ++i) cancel(i);
}

std::optional<ApiError> EngineCalls::submit(Request request, const std::string& prompt_param) {
  if (const std::optional<InvalidParameter> wrong = engine_.check(request)) {
    const std::string& param = wrong->parameter == "prompt" ? prompt_param : wrong->parameter;
    return ApiError{400, fmt::format("{}: {}", param, wrong->message), param};
  }
  try {
    const size_t choice = ids_.size();
    ids_.push_back(0);
    ids_.back() =
        engine_.submit(std::move(request), [mailbox = mailbox_, choice](TokenEvent&& event) {
          mailbox->push(choice, std::move(event));
        });
  } catch (const Error& error) {
    ApiError answer = to_api_error(error);
    if (error.code() == ErrorCode::kResourceExhausted) {
      answer.status = 429;
      answer.retry_after = 1;
    }
    return answer;
  }
  return std::nullopt;
}

void EngineCalls::cancel(size_t choice) {
  if (const uint64_t id = std::exchange(ids_[choice], 0)) engine_.cancel(id);
}

}  // namespace lockstep::serve
