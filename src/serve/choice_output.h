// One answer as it comes: tokens of the engine in, text with stop strings and logprobs out.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "runtime/request.h"
#include "serve/requests.h"
#include "serve/served_model.h"
#include "text/detokenizer.h"

namespace lockstep::serve {

/// A token of a prompt or an answer, where its logprobs are wanted.
struct TokenRecord {
  int32_t id = 0;
  std::string text;        // what it adds to the text; empty for the beginning of a character
  size_t text_offset = 0;  // in code points
  std::optional<PositionLogprobs> logprobs;  // nothing for the first token of a prompt
};

/// What one event adds to an answer.
struct OutputDelta {
  std::string text;
  std::vector<int32_t> token_ids;
  std::vector<TokenRecord> records;
  bool finished = false;
  std::string finish_reason;           // with `finished`
  nlohmann::ordered_json stop_reason;  // the stop string or id that ended it; else null
};

/// Text from the tokens of a prompt and where each begins in it. `text` is the prompt where it was
/// given as text: ids of tokens that the tokenizer put before it add nothing to it.
struct PromptText {
  std::string text;
  std::vector<TokenRecord> records;
};
PromptText describe_prompt(const ServedModel& model, const std::vector<int32_t>& ids,
                           const std::optional<std::string>& text);

class ChoiceOutput {
 public:
  /// `text_offset` is where the answer begins, in code points. `prompt_ids` is what the first
  /// tokens continue: a space or half a character may belong to both.
  ChoiceOutput(const ServedModel& model, const GenerationRequest& request,
               std::span<const int32_t> prompt_ids, size_t text_offset);

  /// Nothing is added after the end. Whether the engine should be told to stop: a stop string came.
  OutputDelta push(TokenEvent&& event);
  bool finished() const noexcept { return finished_; }
  bool found_stop_string() const noexcept { return found_stop_string_; }
  int64_t n_tokens() const noexcept { return n_tokens_; }

 private:
  void add_token(int32_t id, bool is_text, OutputDelta& delta);
  void add_record(int32_t id, bool is_text, std::optional<PositionLogprobs> logprobs,
                  OutputDelta& delta);
  void finish(const TokenEvent& event, OutputDelta& delta);

  const ServedModel& model_;
  const GenerationRequest& request_;
  std::optional<text::Detokenizer> text_;
  std::optional<text::Detokenizer> slices_;  // without stop strings: where tokens begin
  size_t text_offset_;
  int64_t n_tokens_ = 0;
  bool finished_ = false, found_stop_string_ = false;
};

}  // namespace lockstep::serve
