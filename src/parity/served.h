// A server against recorded logits: what it says follows a prefix, token first, then probability.
// It sees nothing of the server but the OpenAI API, so that any server can be held to it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "client/completion.h"
#include "parity/diff.h"
#include "parity/position_probe.h"
#include "parity/recording.h"
#include "parity/served_layers.h"
#include "parity/served_tokens.h"

namespace lockstep::parity {

struct ServedOptions {
  /// Prompts of the recording whose next token is compared; empty: every one.
  std::vector<std::vector<int64_t>> prompts;
  /// The prompt whose prefixes are compared; empty: the longest recorded one.
  std::vector<int64_t> long_prompt;
  /// Lengths of those prefixes; none: prefixes are not compared.
  std::vector<int64_t> positions{std::begin(kProbeLengths), std::end(kProbeLengths)};
  std::string dtype = "float32";  // between modules, in the server
};

/// What follows one prefix.
struct ServedPosition {
  /// kUnasked: the reference has no such position. kUnnamed: the server's answer names tokens in a
  /// way that fits several. kUnanswered: no answer that says what is compared.
  enum class Outcome : uint8_t { kSame, kTie, kDiffers, kUnasked, kUnnamed, kUnanswered };
  std::string part;    // "prompt" or "prefix"
  int prompt = 0;      // as the recording counts
  int64_t length = 0;  // tokens sent
  Outcome outcome = Outcome::kUnanswered;
  std::string reason;           // of anything but kSame
  int64_t reference_token = 0;  // the reference's own
  double reference_logprob = 0;
  double margin = 0;  // of the reference: how far its own token is before the server's, or the next
  double allowed = 0;  // nats that logprobs may be apart
  std::optional<int64_t> server_token;
  std::optional<double> server_logprob;  // of the reference's own token
  int n_others = 0;                      // of the reference's next tokens that were compared too

  bool compared() const { return outcome <= Outcome::kDiffers; }
};

struct ServedReport {
  Outcome outcome = Outcome::kUndecided;
  std::string url, model;             // of the server
  std::string reference, run, dtype;  // path; the precise run; the server's type
  std::string noise;                  // where the floor in nats comes from
  std::vector<ServedPosition> positions;
  std::vector<std::string> not_covered;

  int count(ServedPosition::Outcome outcome) const;
  int n_compared() const;
  /// The shortest prefix that differs; nullptr: none does.
  const ServedPosition* first_difference() const;
};

/// Asks the server for one greedy token after each prefix. It holds when every position that the
/// reference has was compared and none differs, but for at most half that the server names by
/// ambiguous text; one that differs suffices for kDiverged. Throws kInvalidArgument for a recording
/// without logits of a prompt and for a prompt that it does not have.
ServedReport compare_served(client::ApiClient& api, const std::string& model,
                            const Recording& reference, const ServedOptions& options,
                            ServedTokens& tokens);

std::string_view outcome_name(ServedPosition::Outcome outcome) noexcept;
/// A table of at most 100 columns and the verdict; no "next:".
std::string served_text(const ServedReport& report, const ServedTokens& tokens);
/// {"verdict","covered","not_covered","findings","positions",...}.
std::string served_json(const ServedReport& report, const std::vector<LayerFigures>& layers);

}  // namespace lockstep::parity
