// One completion of a prompt of token ids, with what the server says about its tokens in whatever
// form it says it: OpenAI's legacy lists (vLLM, Lockstep), or a list of objects (llama-server).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "client/api_client.h"

namespace lockstep::client {

/// A token as the server names it.
struct ServerToken {
  std::optional<int64_t> id;         // said as such: "token_id:7", or a field "id"
  std::string text;                  // as written; may stand for several ids
  std::optional<std::string> bytes;  // what it stands for, where that is said
  /// Natural logarithm; nothing where the server says null: a prompt's first token.
  std::optional<double> logprob;
};

struct TokenPosition {
  ServerToken token;
  std::vector<ServerToken> top;
};

struct CompletionQuery {
  std::vector<int64_t> prompt_ids;
  int64_t max_tokens = 1;
  int n_top = 5;      // alternatives a token; 5 is what OpenAI's own servers give at most
  bool echo = false;  // the prompt's tokens as well
};

struct Completion {
  /// Empty: it is an answer. Else why there is none, with URL, status and the server's words.
  std::string problem;
  std::string text, finish_reason;
  std::optional<int64_t> prompt_tokens, completion_tokens;  // as the server counted
  /// Of the generated tokens, behind the prompt's with `echo`; empty with `no_logprobs` set.
  std::vector<TokenPosition> positions;
  std::string no_logprobs;  // why there are none
};

/// Asks one server; learns which fields it refuses and leaves them out from then on. For one
/// thread.
class Completer {
 public:
  Completer(ApiClient& api, std::string model) : api_(api), model_(std::move(model)) {}

  /// Greedy. Throws nothing that a server could cause.
  Completion complete(const CompletionQuery& query);
  const std::string& model() const noexcept { return model_; }

 private:
  Json body(const CompletionQuery& query) const;

  ApiClient& api_;
  std::string model_;
  bool names_by_id_ = true;  // tokens are asked for as "token_id:7"
};

/// What `answer`, a server's JSON, says; a problem for anything that is no completion.
Completion read_completion(const Json& answer);

}  // namespace lockstep::client
