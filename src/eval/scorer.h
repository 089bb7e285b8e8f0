// Who answers the questions: a model in this process, or a server of the OpenAI API.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "client/api_client.h"
#include "eval/item.h"
#include "runtime/engine.h"
#include "text/tokenizer.h"

namespace lockstep::eval {

struct Loglikelihood {
  double logprob = 0;      // natural, of all tokens of the continuation together
  bool is_greedy = false;  // each of them is the likeliest in its place
  int64_t n_tokens = 0;
  bool is_cut = false;  // the context lost its beginning, to fit
};

struct Generated {
  std::string text;          // up to the first stop text, without it
  bool is_finished = false;  // by an end token or a stop text, not by max_tokens
  bool is_cut = false;
};

/// For one thread. Both throw kUnavailable when the other side is gone, kInvalidArgument for what
/// it refuses.
class Session {
 public:
  virtual ~Session() = default;
  virtual std::vector<Loglikelihood> loglikelihood(std::span<const Choice> choices) = 0;
  virtual Generated generate(const std::string& prompt, std::span<const std::string> stop,
                             int64_t max_tokens) = 0;
};

/// Sessions may be opened and used by several threads at once.
class Scorer {
 public:
  virtual ~Scorer() = default;
  virtual std::unique_ptr<Session> open() = 0;
  /// The model's name, for the record.
  virtual std::string model() const = 0;
  /// What computes: this program's version, or what the server says of itself.
  virtual std::string version() const = 0;
};

/// `engine` and `tokenizer` must outlive it.
std::unique_ptr<Scorer> engine_scorer(Engine& engine, const text::Tokenizer& tokenizer,
                                      std::string model);
/// Prompts go as ids of `tokenizer`, the model's own. Asks the server who it is; throws as
/// client::ApiClient.
std::unique_ptr<Scorer> server_scorer(client::Target target, const std::string& model,
                                      const text::Tokenizer& tokenizer);

/// A choice as ids. As lm-evaluation-harness splits it: blanks at the context's end belong to the
/// continuation; both are encoded as one text, and the continuation is what comes behind as many
/// ids as the context alone has (where that is none: behind the ids that both share). What the
/// tokenizer puts before every text stands before it.
struct EncodedChoice {
  std::vector<int32_t> ids;
  size_t n_context = 0;
  bool is_cut = false;
};
/// `max_length` 0: no bound; else the context loses its beginning, never the whole of it. Throws
/// kInvalidArgument for a continuation without tokens, or one that alone is too long.
EncodedChoice encode_choice(const text::Tokenizer& tokenizer, const Choice& choice,
                            int64_t max_length);
/// The ids of a prompt, cut at the beginning where it leaves no room for `max_tokens`.
std::vector<int32_t> encode_prompt(const text::Tokenizer& tokenizer, const std::string& prompt,
                                   int64_t max_tokens, int64_t max_length, bool& is_cut);
/// Cuts `text` before the first of `stop`; whether one was there.
bool cut_at_stop(std::string& text, std::span<const std::string> stop);

}  // namespace lockstep::eval
