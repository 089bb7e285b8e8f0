// The fields that several routes take.
#pragma once

#include <string_view>
#include <vector>

#include "serve/request_fields.h"
#include "serve/requests.h"

namespace lockstep::serve {

/// Everything of GenerationRequest but `logprobs`, which completions and chat write differently.
void read_generation_fields(Fields& fields, const RequestLimits& limits,
                            GenerationRequest& request);
/// A string, a list of strings, a list of ids, or a list of such lists; none of them empty.
std::vector<Prompt> read_prompts(Fields& fields, std::string_view key, const RequestLimits& limits);
/// `truncate_prompt_tokens`: -1 or up to the longest prompt.
std::optional<int64_t> read_truncation(Fields& fields, const RequestLimits& limits);
/// The members of a chat that the template sees: messages, tools, documents and how it ends.
void read_conversation(Fields& fields, ChatCompletionRequest& request);

}  // namespace lockstep::serve
