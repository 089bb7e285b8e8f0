#include "kernels/cpu/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/rms_norm/rms_norm_cpu.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cmath>

#include "kernels/cpu/simd-inl.h"
#include "ops/rms_norm/rms_norm.h"

HWY_BEFORE_NAMESPACE();
namespace lockstep {
namespace HWY_NAMESPACE {
namespace {

using ops::NormRounding;
using ops::RmsNormArgs;

/// Four sums side by side: shorter chains of additions, and nearer to the exact sum than one.
template <class T>
HWY_INLINE float sum_of_squares(const T* x, size_t n) {
  const F32 d;
  const size_t lanes = hn::Lanes(d);
  VF s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
  size_t i = 0;
  const auto add = [&](size_t at, VF& sum) HWY_ATTR {
    const VF v = load(d, x + at);
    sum = hn::MulAdd(v, v, sum);
  };
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    add(i, s0);
    add(i + lanes, s1);
    add(i + 2 * lanes, s2);
    add(i + 3 * lanes, s3);
  }
  for (; i + lanes <= n; i += lanes) add(i, s0);
  if (i < n) {
    const VF v = load_n(d, x + i, n - i);
    s1 = hn::MulAdd(v, v, s1);
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(s0, s1), hn::Add(s2, s3))));
}

template <class T, class TW>
void norm_row(const RmsNormArgs& args, const T* x, T* out) {
  const F32 d;
  const size_t n = static_cast<size_t>(args.width);
  const float mean = sum_of_squares(x, n) / static_cast<float>(args.width);
  const VF scale = hn::Set(d, 1.0f / std::sqrt(mean + args.eps));
  const VF offset = hn::Set(d, args.weight_offset);
  const TW* weight = static_cast<const TW*>(args.weight);
  if (args.rounding == NormRounding::kBeforeWeight) {
    map(
        n, out,
        [=](VF v, VF w) HWY_ATTR {
          return hn::Mul(round_as(F32(), hn::Mul(v, scale), T{}), hn::Add(w, offset));
        },
        x, weight);
  } else {
    map(
        n, out, [=](VF v, VF w) HWY_ATTR { return hn::Mul(hn::Mul(v, scale), hn::Add(w, offset)); },
        x, weight);
  }
}

void run_rms_norm(const RmsNormArgs& args, ThreadPool& pool) {
  const int64_t grain = 1 + 8192 / (args.width + 1);
  visit_activation_type(args.dtype, [&]<class T>(T) HWY_ATTR {
    visit_float_type(args.weight_dtype, [&]<class TW>(TW) HWY_ATTR {
      pool.parallel_for(args.n_rows, grain, [&](int64_t begin, int64_t end, int) HWY_ATTR {
        for (int64_t r = begin; r < end; ++r) {
          norm_row<T, TW>(args, static_cast<const T*>(args.x) + r * args.width,
                          static_cast<T*>(args.out) + r * args.width);
        }
      });
    });
  });
}

}  // namespace

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace lockstep
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lockstep {
HWY_EXPORT(run_rms_norm);

namespace ops {

void rms_norm_cpu(const RmsNormArgs& args, ThreadPool& pool) noexcept {
  HWY_DYNAMIC_DISPATCH(run_rms_norm)(args, pool);
}

}  // namespace ops
}  // namespace lockstep
#endif
