// What a request is and what comes back of it: the nouns between a server and the engine.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lockstep/error.h"
#include "runtime/sampling_params.h"

namespace lockstep {

using Clock = std::chrono::steady_clock;

/// Constrained decoding: which ids may come next. One a request; the engine calls it from one
/// thread at a time, though not always the same one, once for each token to come, in order.
class TokenMask {
 public:
  virtual ~TokenMask() = default;
  /// `output` holds the tokens generated so far. `allowed` is a bit an id, (vocab_size + 31) / 32
  /// words, id i in bit i % 32 of word i / 32, all clear on entry: set those that may come. An end
  /// token may come only when its bit is set. Returns false when the text cannot go on (no id fits,
  /// a bound was met): the request ends with an error. Should take well under a millisecond: the
  /// step waits for it.
  virtual bool allow(std::span<const int32_t> output, std::span<uint32_t> allowed) noexcept = 0;
};

/// Of the hidden states after the final norm, as the head would read them.
enum class Pooling : uint8_t {
  kNone,  // generate
  kLast,  // the last token's
  kMean,  // of all tokens
  kCls,   // the first token's
};

struct Request {
  std::vector<int32_t> prompt_ids;
  SamplingParams params;
  /// Other than kNone: no token is generated, the last event has the embedding, and `params` is
  /// not looked at.
  Pooling pooling = Pooling::kNone;
  int32_t priority = 0;  // lower goes first, then first come, first served
  /// When it ends with kTimeout, wherever it is by then.
  std::optional<Clock::time_point> deadline;
  std::shared_ptr<TokenMask> mask;
  /// Requests share cached prompts only with those of the same salt.
  std::string cache_salt;
};

struct TokenLogprob {
  int32_t id = 0;
  float logprob = 0;
};

/// What is reported at one position: the token that stands there, and the likeliest ones.
struct PositionLogprobs {
  TokenLogprob chosen;
  int64_t rank = 0;  // tokens at least as likely as the chosen one, itself included: 1 is the best
  std::vector<TokenLogprob> top;  // likeliest first, of equals the lowest id; as many as asked for
};

enum class FinishReason : uint8_t {
  kNone,     // more comes
  kStop,     // an end token or one of stop_token_ids
  kLength,   // max_tokens, or the engine's max_length
  kAbort,    // cancelled, or the engine stopped
  kTimeout,  // its deadline has passed
  kError,    // `error` says why
};
/// "stop", "length", "abort" (also kTimeout and kError), as the API names them; "" for kNone.
std::string_view finish_reason_name(FinishReason reason) noexcept;

/// One token of a request, or its end. Events of a request come in order; the last one, and only
/// that, has a finish reason.
struct TokenEvent {
  uint64_t id = 0;               // of the request
  std::optional<int32_t> token;  // absent where the end comes without one (cancelled, max_tokens 0)
  std::optional<PositionLogprobs> logprobs;  // of `token`, where SamplingParams::logprobs asks
  /// With the first event, where asked for: entry i is of prompt token i + 1, so one fewer than the
  /// prompt has.
  std::shared_ptr<const std::vector<PositionLogprobs>> prompt_logprobs;
  int64_t n_prompt_tokens = 0;
  int64_t n_cached_tokens = 0;  // of the prompt, found in the prefix cache
  int64_t n_output_tokens = 0;  // this one included
  FinishReason finish = FinishReason::kNone;
  /// With kStop: the one of stop_token_ids that came (vLLM's stop_reason); absent for end tokens.
  std::optional<int32_t> stop_token;
  std::optional<Error> error;    // with kError
  std::vector<float> embedding;  // [hidden], with Pooling; not normalised
};

/// Called on the engine's thread, once an event, in order: hand it on (asio::post) and return. What
/// it throws ends its request and is seen by nobody else. Calling the engine from inside is
/// allowed, but for stop() and the destructor.
using EventSink = std::function<void(TokenEvent&&)>;

}  // namespace lockstep
