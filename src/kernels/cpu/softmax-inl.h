// Softmax over keys that come in blocks of kSoftmaxBlock: a running maximum, the sum of the weights
// relative to it, and what earlier sums must be multiplied with when it rises.
#if defined(LOCKSTEP_KERNELS_CPU_SOFTMAX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOCKSTEP_KERNELS_CPU_SOFTMAX_INL_H_
#undef LOCKSTEP_KERNELS_CPU_SOFTMAX_INL_H_
#else
#define LOCKSTEP_KERNELS_CPU_SOFTMAX_INL_H_
#endif

#include <algorithm>
#include <limits>

#include "hwy/contrib/math/math-inl.h"
#include "kernels/cpu/dot-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lockstep {
namespace HWY_NAMESPACE {

constexpr int64_t kSoftmaxBlock = 32;

/// exp for x <= 0, within 1 ulp; NaN stays NaN.
HWY_INLINE VF exp_of_score(VF x) { return hn::IfThenElse(hn::IsNaN(x), x, hn::Exp(F32(), x)); }

/// Products [kSoftmaxBlock] to weights relative to the new maximum, in place; those outside
/// [begin, end) to 0. `score(product, j)` is the score of the keys from j on. Updates the row's
/// maximum and total, and returns what its sums so far must be multiplied with.
template <class Score>
HWY_INLINE float add_to_softmax(float* products, int64_t begin, int64_t end, const Score& score,
                                float& row_max, float& row_total) {
  const F32 d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const VF lowest = hn::Set(d, -std::numeric_limits<float>::infinity());
  const VF first = hn::Set(d, static_cast<float>(begin)),
           last = hn::Set(d, static_cast<float>(end));
  VF max = lowest;
  for (int64_t j = 0; j < kSoftmaxBlock; j += lanes) {
    const VF at = hn::Iota(d, static_cast<float>(j));
    const auto counts = hn::And(hn::Ge(at, first), hn::Lt(at, last));
    const VF scored = hn::IfThenElse(counts, score(hn::Load(d, products + j), j), lowest);
    hn::Store(scored, d, products + j);
    max = hn::Max(max, scored);
  }
  const float before = row_max;
  row_max = std::max(before, hn::GetLane(hn::MaxOfLanes(d, max)));
  const VF shift = hn::Set(d, row_max);
  VF sum = hn::Zero(d);
  for (int64_t j = 0; j < kSoftmaxBlock; j += lanes) {
    const VF weight = exp_of_score(hn::Sub(hn::Load(d, products + j), shift));
    hn::Store(weight, d, products + j);
    sum = hn::Add(sum, weight);
  }
  const float correction =
      before == row_max ? 1.0f : hn::GetLane(exp_of_score(hn::Set(d, before - row_max)));
  row_total = row_total * correction + sum_lanes(sum);
  return correction;
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace lockstep
HWY_AFTER_NAMESPACE();

#endif
