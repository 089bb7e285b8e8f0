// The JSON of answers, whole and streamed, as OpenAI's clients and vLLM's users expect it.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "serve/choice_output.h"
#include "serve/requests.h"
#include "serve/served_model.h"

namespace lockstep::serve {

using Json = nlohmann::ordered_json;

/// What all parts of one answer have in common.
struct AnswerHead {
  std::string id;  // "cmpl-...", "chatcmpl-..."
  int64_t created = 0;
  std::string model;
};

struct Usage {
  int64_t prompt_tokens = 0, completion_tokens = 0, cached_tokens = 0;
  Json json(bool with_details) const;
};

/// A function call that the model wrote.
struct ToolCall {
  std::string id, name, arguments;
};

/// One answer, put together from its deltas.
struct Choice {
  int64_t index = 0;
  std::string text;
  std::vector<TokenRecord> records;
  std::vector<int32_t> token_ids, prompt_token_ids;
  std::string finish_reason;  // empty: not finished
  Json stop_reason;
  Json prompt_logprobs;  // as prompt_logprobs_json(); null: not asked for
  std::vector<ToolCall> tool_calls;
  std::optional<Usage> usage;  // of this answer so far, in streams that ask for it all the time
};

/// How records are written: tokens as text, or as "token_id:7".
struct LogprobStyle {
  int64_t n_top = 0;
  bool as_token_ids = false;
};

/// {tokens, token_logprobs, top_logprobs, text_offset}; null for the first token of a prompt.
Json legacy_logprobs(const ServedModel& model, const std::vector<TokenRecord>& records,
                     const LogprobStyle& style);
/// {content: [{token, logprob, bytes, top_logprobs}]}.
Json chat_logprobs(const ServedModel& model, const std::vector<TokenRecord>& records,
                   const LogprobStyle& style);
/// vLLM's list: null for the first token, then {"<id>": {logprob, rank, decoded_token}}.
Json prompt_logprobs_json(const ServedModel& model, const std::vector<PositionLogprobs>& logprobs);

Json completion_choice(const ServedModel& model, const GenerationRequest& request,
                       const Choice& choice);
Json completion_answer(const AnswerHead& head, std::vector<Json> choices, const Usage& usage,
                       bool with_details);
/// A part of a stream; `choice` holds what this part adds.
Json completion_chunk(const AnswerHead& head, const ServedModel& model,
                      const GenerationRequest& request, const Choice& choice);

Json chat_choice(const ServedModel& model, const GenerationRequest& request, const Choice& choice);
Json chat_answer(const AnswerHead& head, std::vector<Json> choices, const Usage& usage,
                 bool with_details);
/// `delta` is OpenAI's: {"role": "assistant", "content": ""}, {"content": "..."}, ...
Json chat_chunk(const AnswerHead& head, const ServedModel& model, const GenerationRequest& request,
                const Choice& choice, Json delta);
/// The last part where usage was asked for: no choices.
Json usage_chunk(const AnswerHead& head, const char* object, const Usage& usage, bool with_details);

/// "data: <json>\n\n".
std::string sse(const Json& json);
inline constexpr const char* kSseDone = "data: [DONE]\n\n";

/// 32 hexadecimal digits that no other answer has.
std::string random_id();

}  // namespace lockstep::serve
