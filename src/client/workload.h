// What a load test asks: prompts of given lengths that share no beginning, the same for every
// server.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "client/load.h"

namespace lockstep::client {

/// Both ends included; drawn evenly.
struct LengthRange {
  int64_t least = 0, most = 0;
  /// "128" or "64:256". Throws kInvalidArgument naming `flag`.
  static LengthRange parse(const std::string& flag, const std::string& text);
  std::string text() const;
};

struct WorkloadOptions {
  LengthRange prompt_tokens, output_tokens;
  /// Ids that prompts are drawn from; empty: prompts are English words.
  std::vector<int64_t> vocabulary;
  /// Of text: how many tokens a word makes. The server's own count of a prompt says.
  double tokens_a_word = 1;
};

/// `n` requests, the same for the same seed on every machine.
std::vector<LoadRequest> make_requests(const WorkloadOptions& options, size_t n, uint64_t seed);

}  // namespace lockstep::client
