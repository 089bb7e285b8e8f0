#include "runtime/token_choice.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "runtime/philox.h"

namespace lockstep {
namespace {

constexpr float kForbidden = -std::numeric_limits<float>::infinity();
using Candidate = ChoiceScratch::Candidate;

// Likeliest first, of equals the lowest id.
bool is_before(const Candidate& a, const Candidate& b) noexcept {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

double weight(const Candidate& candidate, float most) noexcept {
  return std::exp(candidate.logit - most);
}

// The likeliest candidates, in order, up to the one with which their weights reach `wanted`. Sorted
// in growing pieces: mostly few are needed.
size_t sort_share(std::span<Candidate> candidates, double wanted, float most) noexcept {
  double sum = 0;
  size_t sorted = 0;
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (sum >= wanted && i > 0) return i;
    if (i == sorted) {
      sorted = std::min(candidates.size(), std::max<size_t>(64, 4 * sorted));
      std::partial_sort(candidates.begin() + static_cast<ptrdiff_t>(i),
                        candidates.begin() + static_cast<ptrdiff_t>(sorted), candidates.end(),
                        is_before);
    }
    sum += weight(candidates[i], most);
  }
  return candidates.size();
}

// How many logits, and which share of the weights, lie how far below the largest: what tells where
// the top K or the top P end, but for the steps of an eighth, without sorting a vocabulary.
class Depths {
 public:
  void add(float below, double w) noexcept {
    const auto step = static_cast<size_t>(std::min(below * kSteps, kLast));
    ++counts_[step];
    weights_[step] += w;
    total_ += w;
  }
  double total() const noexcept { return total_; }
  // Less than this below the largest are at least the `k` likeliest; infinity: perhaps all.
  float depth_of_count(int64_t k) const noexcept { return depth_of(counts_, k); }
  // The same of those whose weights reach `wanted`.
  float depth_of_weight(double wanted) const noexcept { return depth_of(weights_, wanted); }

 private:
  static constexpr float kSteps = 8, kLast = 255;

  template <class Number>
  static float depth_of(const std::array<Number, 256>& numbers, Number wanted) noexcept {
    Number sum = 0;
    for (size_t step = 0; step + 2 < numbers.size(); ++step) {
      sum += numbers[step];
      // One step more, for what sums in another order differ by.
      if (sum >= wanted) return static_cast<float>(step + 2) / kSteps;
    }
    return std::numeric_limits<float>::infinity();
  }
  std::array<int64_t, 256> counts_{};
  std::array<double, 256> weights_{};
  double total_ = 0;
};

// The `k` likeliest, in order.
std::span<Candidate> take_top(std::span<Candidate> candidates, size_t k) noexcept {
  if (k < candidates.size()) {
    std::nth_element(candidates.begin(), candidates.begin() + static_cast<ptrdiff_t>(k) - 1,
                     candidates.end(), is_before);
    candidates = candidates.first(k);
  }
  std::ranges::sort(candidates, is_before);
  return candidates;
}

double sum_of(std::span<const Candidate> candidates, float most) noexcept {
  double sum = 0;
  for (const Candidate& candidate : candidates) sum += weight(candidate, most);
  return sum;
}

}  // namespace

ChoiceScratch::ChoiceScratch(int64_t vocab_size)
    : logits(static_cast<size_t>(vocab_size)),
      allowed((static_cast<size_t>(vocab_size) + 31) / 32) {
  candidates.reserve(logits.size());
}

TokenChoice::TokenChoice(const SamplingParams& params, std::span<const int32_t> prompt,
                         std::vector<int32_t> end_ids, uint64_t seed,
                         std::shared_ptr<TokenMask> mask)
    : params_(params),
      end_ids_(std::move(end_ids)),
      seed_(params.seed.value_or(seed)),
      mask_(std::move(mask)),
      has_penalties_(params.repetition_penalty != 1 || params.presence_penalty != 0 ||
                     params.frequency_penalty != 0) {
  end_ids_.insert(end_ids_.end(), params_.stop_token_ids.begin(), params_.stop_token_ids.end());
  if (!has_penalties_) return;
  for (const int32_t id : prompt) counts_[id].in_prompt = true;
}

void TokenChoice::accept(int32_t token) {
  output_.push_back(token);
  if (has_penalties_) ++counts_[token].in_output;
}

bool TokenChoice::changes_logits() const noexcept {
  return mask_ != nullptr || has_penalties_ || !params_.logit_bias.empty() ||
         !params_.bad_words.empty() || params_.allowed_token_ids.has_value() ||
         static_cast<int64_t>(output_.size()) < params_.min_tokens;
}

bool TokenChoice::apply_allowed(ChoiceScratch& scratch) noexcept {
  const size_t n = scratch.logits.size();
  const auto forbid_others = [&] {
    for (size_t i = 0; i < n; ++i) {
      if ((scratch.allowed[i / 32] >> (i % 32) & 1u) == 0) scratch.logits[i] = kForbidden;
    }
  };
  if (mask_ != nullptr) {
    std::ranges::fill(scratch.allowed, 0u);
    if (!mask_->allow(output_, scratch.allowed)) return false;
    forbid_others();
  }
  if (params_.allowed_token_ids) {
    std::ranges::fill(scratch.allowed, 0u);
    for (const int32_t id : *params_.allowed_token_ids) scratch.allowed[id / 32] |= 1u << (id % 32);
    forbid_others();
  }
  return true;
}

void TokenChoice::apply_bad_words(std::span<float> logits) const noexcept {
  for (const std::vector<int32_t>& word : params_.bad_words) {
    const std::span<const int32_t> before(word.data(), word.size() - 1);
    if (before.size() > output_.size()) continue;
    const std::span<const int32_t> newest(output_.data() + output_.size() - before.size(),
                                          before.size());
    if (std::ranges::equal(before, newest)) logits[word.back()] = kForbidden;
  }
}

void TokenChoice::apply_penalties(std::span<float> logits) const noexcept {
  const auto repetition = static_cast<float>(params_.repetition_penalty);
  const auto frequency = static_cast<float>(params_.frequency_penalty);
  const auto presence = static_cast<float>(params_.presence_penalty);
  for (const auto& [id, count] : counts_) {
    float& logit = logits[id];
    logit = logit > 0 ? logit / repetition : logit * repetition;
    if (count.in_output == 0) continue;
    logit -= frequency * static_cast<float>(count.in_output);
    logit -= presence;
  }
}

std::optional<int32_t> TokenChoice::choose(std::span<const float> logits,
                                           ChoiceScratch& scratch) noexcept {
  if (changes_logits()) {
    std::ranges::copy(logits, scratch.logits.begin());
    logits = scratch.logits;
    if (!apply_allowed(scratch)) return std::nullopt;
    apply_bad_words(scratch.logits);
    if (static_cast<int64_t>(output_.size()) < params_.min_tokens) {
      for (const int32_t id : end_ids_) scratch.logits[id] = kForbidden;
    }
    for (const auto& [id, bias] : params_.logit_bias) scratch.logits[id] += bias;
    if (has_penalties_) apply_penalties(scratch.logits);
  }
  if (!params_.is_greedy()) return draw(logits, scratch);
  const int32_t best = argmax(logits);
  return best >= 0 ? std::optional(best) : std::nullopt;
}

std::optional<int32_t> TokenChoice::draw(std::span<const float> logits,
                                         ChoiceScratch& scratch) const noexcept {
  const int32_t best = argmax(logits);
  if (best < 0) return std::nullopt;
  const auto temperature = static_cast<float>(params_.temperature);
  const float most = logits[best] / temperature;
  if (!std::isfinite(most)) return std::nullopt;
  float least = params_.min_p > 0 ? most + std::log(static_cast<float>(params_.min_p)) : kForbidden;
  const bool cuts_k = params_.top_k > 0 && static_cast<size_t>(params_.top_k) < logits.size();
  const bool cuts_p = params_.top_p < 1;
  double wanted = 0;
  if (cuts_k || cuts_p) {
    Depths depths;
    for (const float logit : logits) {
      const float x = logit / temperature;
      if (x >= least && x > kForbidden) depths.add(most - x, cuts_k ? 0 : std::exp(x - most));
    }
    wanted = params_.top_p * depths.total();
    least = std::max(least, most - (cuts_k ? depths.depth_of_count(params_.top_k)
                                           : depths.depth_of_weight(wanted)));
  }
  std::vector<Candidate>& all = scratch.candidates;
  all.clear();
  for (size_t i = 0; i < logits.size(); ++i) {
    const float x = logits[i] / temperature;
    if (x >= least && x > kForbidden) all.push_back({x, static_cast<int32_t>(i)});
  }
  std::span<Candidate> kept = all;
  if (cuts_k) kept = take_top(kept, static_cast<size_t>(params_.top_k));
  if (cuts_p) {
    if (cuts_k) wanted = params_.top_p * sum_of(kept, most);
    kept = kept.first(sort_share(kept, wanted, most));
  }
  return draw_one(kept, most);
}

// In proportion to their weights.
std::optional<int32_t> TokenChoice::draw_one(std::span<Candidate> kept, float most) const noexcept {
  double total = 0;
  for (Candidate& candidate : kept) {
    const double w = weight(candidate, most);
    candidate.logit = static_cast<float>(w);
    total += candidate.logit;
  }
  if (!std::isfinite(total)) return std::nullopt;
  double left = uniform_at(seed_, output_.size()) * total;
  int32_t chosen = kept.front().id;
  for (const Candidate& candidate : kept) {
    if (candidate.logit <= 0) continue;  // its weight by now
    chosen = candidate.id;
    left -= candidate.logit;
    if (left < 0) break;
  }
  return chosen;
}

int32_t argmax(std::span<const float> logits) noexcept {
  int32_t best = -1;
  float most = kForbidden;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] > most) {
      most = logits[i];
      best = static_cast<int32_t>(i);
    }
  }
  return best;
}

}  // namespace lockstep
