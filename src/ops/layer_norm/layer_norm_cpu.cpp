#include "kernels/cpu/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/layer_norm/layer_norm_cpu.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cmath>

#include "kernels/cpu/simd-inl.h"
#include "ops/layer_norm/layer_norm.h"

HWY_BEFORE_NAMESPACE();
namespace lockstep {
namespace HWY_NAMESPACE {
namespace {

using ops::LayerNormArgs;

/// The sum of term(x - origin) over a row, four sums side by side: shorter chains of additions, and
/// nearer to the exact sum than one.
template <class T, class Term>
HWY_INLINE float sum_of(const T* x, size_t n, float origin, const Term& term) {
  const F32 d;
  const size_t lanes = hn::Lanes(d);
  const VF start = hn::Set(d, origin);
  VF s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
  const auto at = [&](size_t i) HWY_ATTR { return term(hn::Sub(load(d, x + i), start)); };
  size_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    s0 = hn::Add(s0, at(i));
    s1 = hn::Add(s1, at(i + lanes));
    s2 = hn::Add(s2, at(i + 2 * lanes));
    s3 = hn::Add(s3, at(i + 3 * lanes));
  }
  for (; i + lanes <= n; i += lanes) s0 = hn::Add(s0, at(i));
  if (i < n) {
    const VF last = term(hn::Sub(load_n(d, x + i, n - i), start));
    s1 = hn::Add(s1, hn::IfThenElseZero(hn::FirstN(d, n - i), last));
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(s0, s1), hn::Add(s2, s3))));
}

template <class T, class TW, class TB>
void norm_row(const LayerNormArgs& args, int64_t row) {
  const F32 d;
  const auto n = static_cast<size_t>(args.width);
  const T* x = static_cast<const T*>(args.x) + row * args.width;
  T* out = static_cast<T*>(args.out) + row * args.width;
  const auto width = static_cast<float>(args.width);
  const float mean = sum_of(x, n, 0.0f, [](VF v) HWY_ATTR { return v; }) / width;
  const float variance = sum_of(x, n, mean, [](VF v) HWY_ATTR { return hn::Mul(v, v); }) / width;
  const VF centre = hn::Set(d, mean);
  const VF scale = hn::Set(d, 1.0f / std::sqrt(variance + args.eps));
  const auto* weight = static_cast<const TW*>(args.weight) + row % args.n_weights * args.width;
  if (args.bias == nullptr) {
    map(
        n, out, [=](VF v, VF w) HWY_ATTR { return hn::Mul(hn::Mul(hn::Sub(v, centre), scale), w); },
        x, weight);
  } else {
    map(
        n, out,
        [=](VF v, VF w, VF b)
            HWY_ATTR { return hn::Add(hn::Mul(hn::Mul(hn::Sub(v, centre), scale), w), b); },
        x, weight, static_cast<const TB*>(args.bias));
  }
}

void run_layer_norm(const LayerNormArgs& args, ThreadPool& pool) {
  const int64_t grain = 1 + 8192 / (args.width + 1);
  visit_activation_type(args.dtype, [&]<class T>(T) HWY_ATTR {
    visit_float_type(args.weight_dtype, [&]<class TW>(TW) HWY_ATTR {
      visit_float_type(args.bias_dtype, [&]<class TB>(TB) HWY_ATTR {
        pool.parallel_for(args.n_rows, grain, [&](int64_t begin, int64_t end, int) HWY_ATTR {
          for (int64_t r = begin; r < end; ++r) norm_row<T, TW, TB>(args, r);
        });
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
HWY_EXPORT(run_layer_norm);

namespace ops {

void layer_norm_cpu(const LayerNormArgs& args, ThreadPool& pool) noexcept {
  HWY_DYNAMIC_DISPATCH(run_layer_norm)(args, pool);
}

}  // namespace ops
}  // namespace lockstep
#endif
