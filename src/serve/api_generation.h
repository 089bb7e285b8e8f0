// One HTTP request that generates: what completions and chat share while it runs.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "serve/api.h"
#include "serve/choice_output.h"
#include "serve/generation.h"
#include "serve/responses.h"
#include "serve/tool_parser.h"

namespace lockstep::serve {

/// The answers are of prompt i / n, choice i % n of it.
struct Api::Generation {
  const GenerationRequest* request = nullptr;
  const ChatCompletionRequest* chat = nullptr;  // of a chat
  AnswerHead head;
  std::vector<EncodedPrompt> prompts;
  std::string prompt_param;                // "prompt" or "messages"
  std::shared_ptr<const Grammar> grammar;  // of the answers; null: any text
  const TokenTrie* trie = nullptr;         // with `grammar`
  ToolStyle tool_style = ToolStyle::kNone;
  std::string tool_name;  // with kArguments

  std::vector<PromptText> prompt_texts;  // one a prompt, where they are echoed
  std::vector<ChoiceOutput> outputs;
  std::vector<ToolParser> tools;  // one an output, where calls are looked for
  std::shared_ptr<Mailbox> mailbox;
  std::unique_ptr<EngineCalls> calls;
  Usage usage;
  size_t n_open = 0;  // answers that are not finished

  bool echoes() const { return request->echo && chat == nullptr; }
  size_t prompt_of(size_t choice) const { return choice / static_cast<size_t>(request->n); }
  /// What an event adds to its answer; the first of an answer brings what belongs to its prompt.
  Choice take(size_t choice, TokenEvent&& event, const ServedModel& model);
  /// Sets up outputs and submits everything. Fails with what the engine refuses.
  std::optional<ApiError> start(const ServedModel& model, Engine& engine,
                                std::chrono::seconds request_time);

 private:
  void add_prompt(size_t choice, TokenEvent& event, const ServedModel& model, Choice& part);
  std::vector<bool> began_;  // answers whose first event came
};

}  // namespace lockstep::serve
