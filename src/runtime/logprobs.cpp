#include "runtime/logprobs.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace lockstep {

PositionLogprobs position_logprobs(std::span<const float> logits, int32_t chosen, int64_t n_top,
                                   std::vector<int32_t>& scratch) {
  const double most = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - most);
  const double log_sum = most + std::log(sum);
  const auto at = [&](int32_t id) {
    return TokenLogprob{id, static_cast<float>(static_cast<double>(logits[id]) - log_sum)};
  };
  PositionLogprobs result;
  result.chosen = at(chosen);
  result.rank = std::ranges::count_if(logits, [&](float x) { return x >= logits[chosen]; });

  const size_t n = n_top < 0 ? logits.size() : std::min<size_t>(n_top, logits.size());
  if (n == 0) return result;
  scratch.resize(logits.size());
  std::iota(scratch.begin(), scratch.end(), 0);
  const auto end = scratch.begin() + static_cast<ptrdiff_t>(n);
  std::partial_sort(scratch.begin(), end, scratch.end(), [&](int32_t a, int32_t b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  });
  result.top.reserve(n);
  std::transform(scratch.begin(), end, std::back_inserter(result.top), at);
  return result;
}

}  // namespace lockstep
