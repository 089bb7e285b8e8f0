// Blocks of dot products with one vector accumulator an output, so that the order of an output's
// sum depends on k and the vector length alone:
//   lane l sums the products of elements l, l + lanes, l + 2 lanes, ... in that order; past k,
//   zeros; then the lanes are added.
// However rows and columns are blocked, and whether weights come from memory or from a packed
// panel, the bits are the same.
#if defined(LOCKSTEP_KERNELS_CPU_DOT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOCKSTEP_KERNELS_CPU_DOT_INL_H_
#undef LOCKSTEP_KERNELS_CPU_DOT_INL_H_
#else
#define LOCKSTEP_KERNELS_CPU_DOT_INL_H_
#endif

#include <hwy/cache_control.h>

#include "kernels/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lockstep {
namespace HWY_NAMESPACE {

// Accumulators, a vector of x per row and one of weights must fit the registers: 32 or 16.
#if HWY_TARGET <= HWY_AVX3
constexpr int kDotRows = 4, kDotCols = 6;
#else
constexpr int kDotRows = 3, kDotCols = 4;
#endif

/// The lanes of `v` added, always in the same order.
HWY_INLINE float sum_lanes(VF v) { return hn::GetLane(hn::SumOfLanes(F32(), v)); }

/// sums[r * kCols + c] = x[r, :] . w[c, :]
/// x: rows of float32, x_stride apart, readable and zero up to a whole vector past k.
/// w: rows of TW, w_stride apart, read up to k alone.
/// kPrefetch: asks for the kCols rows after w. A row of a few KB is too short for the hardware to
/// find its stream in time.
template <int kRows, int kCols, bool kPrefetch = false, class TW>
HWY_INLINE void dot_block(const float* x, size_t x_stride, const TW* w, size_t w_stride, size_t k,
                          float* HWY_RESTRICT sums) {
  const F32 d;
  const size_t lanes = hn::Lanes(d);
  VF acc[kRows][kCols];
  for (int r = 0; r < kRows; ++r) {
    for (int c = 0; c < kCols; ++c) acc[r][c] = hn::Zero(d);
  }
  const auto add = [&](size_t i, const auto& load_weights) HWY_ATTR {
    VF xs[kRows];
    for (int r = 0; r < kRows; ++r) xs[r] = load(d, x + static_cast<size_t>(r) * x_stride + i);
    for (int c = 0; c < kCols; ++c) {
      const TW* wc = w + static_cast<size_t>(c) * w_stride + i;
      if constexpr (kPrefetch) hwy::Prefetch(wc + kCols * w_stride);
      const VF ws = load_weights(wc);
      for (int r = 0; r < kRows; ++r) acc[r][c] = hn::MulAdd(xs[r], ws, acc[r][c]);
    }
  };
  size_t i = 0;
  for (; i + lanes <= k; i += lanes) {
    add(i, [d](const TW* p) HWY_ATTR { return load(d, p); });
  }
  if (i < k) {
    add(i, [d, n = k - i](const TW* p) HWY_ATTR { return load_n(d, p, n); });
  }
  for (int r = 0; r < kRows; ++r) {
    for (int c = 0; c < kCols; ++c) sums[r * kCols + c] = sum_lanes(acc[r][c]);
  }
}

/// As dot_block for n_rows of 1 to kDotRows rows.
template <int kCols, bool kPrefetch = false, class TW>
HWY_INLINE void dot_rows(int64_t n_rows, const float* x, size_t x_stride, const TW* w,
                         size_t w_stride, size_t k, float* HWY_RESTRICT sums) {
  switch (n_rows) {
    case 1:
      return dot_block<1, kCols, kPrefetch>(x, x_stride, w, w_stride, k, sums);
    case 2:
      return dot_block<2, kCols, kPrefetch>(x, x_stride, w, w_stride, k, sums);
    case 3:
      return dot_block<3, kCols, kPrefetch>(x, x_stride, w, w_stride, k, sums);
    default:
      return dot_block<4, kCols, kPrefetch>(x, x_stride, w, w_stride, k, sums);
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace lockstep
HWY_AFTER_NAMESPACE();

#endif
