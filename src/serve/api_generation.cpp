#include "serve/api_generation.h"

#include <fmt/format.h>

#include "text/utf8.h"

namespace lockstep::serve {

std::optional<ApiError> Api::Generation::start(const ServedModel& model, Engine& engine,
                                               std::chrono::seconds request_time) {
  std::vector<SamplingParams> params;
  for (const EncodedPrompt& prompt : prompts) {
    auto made = to_sampling_params(model, engine, *request, static_cast<int64_t>(prompt.ids.size()),
                                   prompt_param);
    if (auto* error = std::get_if<ApiError>(&made)) return std::move(*error);
    params.push_back(std::move(std::get<SamplingParams>(made)));
    if (echoes()) prompt_texts.push_back(describe_prompt(model, prompt.ids, prompt.text));
    usage.prompt_tokens += static_cast<int64_t>(prompt.ids.size());
  }
  const auto n = static_cast<size_t>(request->n);
  n_open = prompts.size() * n;
  began_.resize(n_open);
  outputs.reserve(n_open);
  for (size_t i = 0; i < n_open; ++i) {
    const size_t p = prompt_of(i);
    const size_t offset = echoes() ? text::count_code_points(prompt_texts[p].text) : 0;
    outputs.emplace_back(model, *request, prompts[p].ids, offset);
    if (tool_style != ToolStyle::kNone) tools.emplace_back(tool_style, tool_name);
  }
  for (size_t i = 0; i < n_open; ++i) {
    Request one;
    one.prompt_ids = prompts[prompt_of(i)].ids;
    one.params = params[prompt_of(i)];
    // Choices of a prompt draw differently, and each the same every time.
    if (one.params.seed) *one.params.seed += i % n;
    one.priority = static_cast<int32_t>(request->priority);
    if (request_time.count() > 0) one.deadline = Clock::now() + request_time;
    if (grammar) one.mask = std::make_shared<GrammarMask>(grammar, *trie);
    if (auto error = calls->submit(std::move(one), prompt_param)) return error;
  }
  return std::nullopt;
}

void Api::Generation::add_prompt(size_t choice, TokenEvent& event, const ServedModel& model,
                                 Choice& part) {
  const size_t p = prompt_of(choice);
  if (choice % static_cast<size_t>(request->n) == 0) usage.cached_tokens += event.n_cached_tokens;
  if (request->return_token_ids) part.prompt_token_ids = prompts[p].ids;
  if (request->prompt_logprobs.has_value() && event.prompt_logprobs) {
    part.prompt_logprobs = prompt_logprobs_json(model, *event.prompt_logprobs);
  }
  if (!echoes()) return;
  part.text = prompt_texts[p].text;
  if (!request->logprobs.has_value()) return;
  part.records = prompt_texts[p].records;
  if (!event.prompt_logprobs) return;
  for (size_t i = 1; i < part.records.size() && i <= event.prompt_logprobs->size(); ++i) {
    part.records[i].logprobs = (*event.prompt_logprobs)[i - 1];
  }
}

Choice Api::Generation::take(size_t choice, TokenEvent&& event, const ServedModel& model) {
  Choice part;
  part.index = static_cast<int64_t>(choice);
  ChoiceOutput& output = outputs[choice];
  if (output.finished()) return part;
  if (!began_[choice]) {
    began_[choice] = true;
    add_prompt(choice, event, model, part);
  }
  const bool is_last = event.finish != FinishReason::kNone;
  OutputDelta delta = output.push(std::move(event));
  part.text += delta.text;
  part.token_ids = std::move(delta.token_ids);
  part.records.insert(part.records.end(), std::make_move_iterator(delta.records.begin()),
                      std::make_move_iterator(delta.records.end()));
  if (request->streaming.continuous_usage_stats) {
    part.usage =
        Usage{static_cast<int64_t>(prompts[prompt_of(choice)].ids.size()), output.n_tokens(), 0};
  }
  if (delta.finished) {
    part.finish_reason = std::move(delta.finish_reason);
    part.stop_reason = std::move(delta.stop_reason);
    usage.completion_tokens += output.n_tokens();
    --n_open;
    if (is_last) {
      calls->done(choice);
    } else {
      calls->cancel(choice);
    }
  }
  return part;
}

}  // namespace lockstep::serve
