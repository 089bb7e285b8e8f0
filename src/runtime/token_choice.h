// How one request's tokens are chosen from its rows of logits: what SamplingParams and TokenMask
// ask for, in vLLM's order, and what they remember of the text so far.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "runtime/request.h"

namespace lockstep {

/// Scratch of one thread for rows of `vocab_size` logits: nothing is allocated while choosing.
struct ChoiceScratch {
  explicit ChoiceScratch(int64_t vocab_size);

  struct Candidate {
    float logit;
    int32_t id;
  };
  std::vector<float> logits;          // [vocab_size]
  std::vector<Candidate> candidates;  // room for vocab_size
  std::vector<uint32_t> allowed;      // a bit an id
};

class TokenChoice {
 public:
  /// `end_ids` end a text (they count for min_tokens); `seed` where params has none. Ids were
  /// checked.
  TokenChoice(const SamplingParams& params, std::span<const int32_t> prompt,
              std::vector<int32_t> end_ids, uint64_t seed, std::shared_ptr<TokenMask> mask);

  /// The token that follows output(), from its row of raw logits, [vocab_size], left as it is.
  /// Nothing when none can come: all are forbidden, the mask gave up, or no logit is a number.
  std::optional<int32_t> choose(std::span<const float> logits, ChoiceScratch& scratch) noexcept;
  /// `token` is part of the text from now on.
  void accept(int32_t token);

  const std::vector<int32_t>& output() const noexcept { return output_; }
  uint64_t seed() const noexcept { return seed_; }

 private:
  struct Count {
    bool in_prompt = false;
    int64_t in_output = 0;
  };
  bool changes_logits() const noexcept;
  bool apply_allowed(ChoiceScratch& scratch) noexcept;
  void apply_bad_words(std::span<float> logits) const noexcept;
  void apply_penalties(std::span<float> logits) const noexcept;
  std::optional<int32_t> draw_one(std::span<ChoiceScratch::Candidate> kept,
                                  float most) const noexcept;
  std::optional<int32_t> draw(std::span<const float> logits, ChoiceScratch& scratch) const noexcept;

  SamplingParams params_;
  std::vector<int32_t> end_ids_;
  uint64_t seed_;
  std::shared_ptr<TokenMask> mask_;
  std::vector<int32_t> output_;
  bool has_penalties_;
  std::unordered_map<int32_t, Count> counts_;  // kept where there are penalties
};

/// The largest of `logits`, of equals the first; -1 when none is above -inf.
int32_t argmax(std::span<const float> logits) noexcept;

}  // namespace lockstep
