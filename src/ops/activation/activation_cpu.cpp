#include "kernels/cpu/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/activation/activation_cpu.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <type_traits>

#include "hwy/contrib/math/math-inl.h"
#include "kernels/cpu/simd-inl.h"
#include "ops/activation/activation.h"

HWY_BEFORE_NAMESPACE();
namespace lockstep {
namespace HWY_NAMESPACE {
namespace {

using ops::Activation;
using ops::ActivationArgs;

using F64 = hn::Repartition<double, F32>;
using VD = hn::Vec<F64>;

// Computed in float64, two half vectors at a time, so that no cancellation near a zero of the
// function costs digits of float32.

/// exp, also where the library's version ends: 0 below, infinity above, NaN of NaN.
HWY_INLINE VD exp64(VD x) {
  const F64 d;
  const VD y = hn::Exp(d, hn::Max(hn::Min(x, hn::Set(d, 700.0)), hn::Set(d, -700.0)));
  return hn::IfThenElse(hn::IsNaN(x), x, y);
}

HWY_INLINE VD sigmoid64(VD x) {
  const F64 d;
  const VD one = hn::Set(d, 1.0);
  return hn::Div(one, hn::Add(one, exp64(hn::Neg(x))));
}

/// erfc(z) for z >= 0 as t exp(p(2t - 1) - z^2), t = 2 / (2 + z): p is the truncated Chebyshev
/// series of log(erfc(z) / t) + z^2, good to 1e-11.
HWY_INLINE VD erfc_of_positive(VD z) {
  constexpr double kSeries[] = {
      -0.67179408406388936,   0.67264322399718392,    0.047343308019487554,
      -0.046895611438998561,  -0.0098727211535491722, 0.0088249606313957297,
      0.0017592649186868071,  -0.0023459977506613025, -0.00014798466406649722,
      0.00067453338933601989, -8.8583145613403278e-5, -0.0001766713212888939,
      6.2342789890247603e-5,  3.5859295690059274e-5,  -2.0765497203224718e-5,
      -4.3919568028442384e-6, 3.1610605083084478e-6,  1.5689567981005142e-7};
  const F64 d;
  const VD t = hn::Div(hn::Set(d, 2.0), hn::Add(hn::Set(d, 2.0), z));
  const VD s = hn::MulAdd(t, hn::Set(d, 2.0), hn::Set(d, -1.0));
  VD p = hn::Set(d, kSeries[17]);
  for (int i = 16; i >= 0; --i) p = hn::MulAdd(p, s, hn::Set(d, kSeries[i]));
  return hn::Mul(t, exp64(hn::NegMulAdd(z, z, p)));
}

template <Activation kFn>
HWY_INLINE VD apply(VD x) {
  const F64 d;
  if constexpr (kFn == Activation::kSilu) {
    return hn::Mul(x, sigmoid64(x));
  } else if constexpr (kFn == Activation::kGelu) {
    const VD tail = erfc_of_positive(hn::Mul(hn::Abs(x), hn::Set(d, 0.70710678118654752440)));
    const VD twice = hn::IfThenElse(hn::Lt(x, hn::Zero(d)), tail, hn::Sub(hn::Set(d, 2.0), tail));
    return hn::Mul(hn::Mul(x, hn::Set(d, 0.5)), twice);
  } else if constexpr (kFn == Activation::kGeluTanh) {
    const VD cube = hn::Mul(hn::Mul(x, hn::Mul(x, x)), hn::Set(d, 0.044715));
    const VD u = hn::Mul(hn::Add(x, cube), hn::Set(d, 2.0 * 0.79788456080286535588));
    return hn::Mul(x, sigmoid64(u));
  } else if constexpr (kFn == Activation::kQuickGelu) {
    return hn::Mul(x, sigmoid64(hn::Mul(x, hn::Set(d, 1.702))));
  } else if constexpr (kFn == Activation::kSigmoid) {
    return sigmoid64(x);
  } else if constexpr (kFn == Activation::kTanh) {
    // Near 0 the quotient cancels; x - x^3 / 3 is then good to 1e-9.
    const VD near = hn::NegMulAdd(hn::Mul(x, hn::Mul(x, x)), hn::Set(d, 1.0 / 3), x);
    const VD one = hn::Set(d, 1.0);
    const VD e = exp64(hn::Add(x, x));
    const VD far = hn::Sub(one, hn::Div(hn::Set(d, 2.0), hn::Add(e, one)));
    return hn::IfThenElse(hn::Lt(hn::Abs(x), hn::Set(d, 1e-3)), near, far);
  }
}

template <Activation kFn>
HWY_INLINE VF apply_wide(VF v) {
  const F32 d;
#if HWY_TARGET == HWY_SCALAR
  const F64 d64;
  return hn::DemoteTo(d, apply<kFn>(hn::PromoteTo(d64, v)));
#else
  const F64 d64;
  const hn::Half<F32> dh;
  const auto low = hn::DemoteTo(dh, apply<kFn>(hn::PromoteTo(d64, hn::LowerHalf(dh, v))));
  const auto high = hn::DemoteTo(dh, apply<kFn>(hn::PromoteTo(d64, hn::UpperHalf(dh, v))));
  return hn::Combine(d, high, low);
#endif
}

/// The larger of v and 0; NaN stays NaN.
HWY_INLINE VF relu(VF v) { return hn::IfThenElse(hn::Lt(v, hn::Zero(F32())), hn::Zero(F32()), v); }

template <class T>
void run_range(const ActivationArgs& args, int64_t begin, int64_t end) {
  const T* x = static_cast<const T*>(args.x) + begin;
  T* out = static_cast<T*>(args.out) + begin;
  const size_t n = static_cast<size_t>(end - begin);
  const auto wide = [&]<Activation kFn>(std::integral_constant<Activation, kFn>) HWY_ATTR {
    map(
        n, out, [](VF v) HWY_ATTR { return apply_wide<kFn>(v); }, x);
  };
  switch (args.fn) {
    case Activation::kSilu:
      return wide(std::integral_constant<Activation, Activation::kSilu>());
    case Activation::kGelu:
      return wide(std::integral_constant<Activation, Activation::kGelu>());
    case Activation::kGeluTanh:
      return wide(std::integral_constant<Activation, Activation::kGeluTanh>());
    case Activation::kQuickGelu:
      return wide(std::integral_constant<Activation, Activation::kQuickGelu>());
    case Activation::kSigmoid:
      return wide(std::integral_constant<Activation, Activation::kSigmoid>());
    case Activation::kTanh:
      return wide(std::integral_constant<Activation, Activation::kTanh>());
    case Activation::kRelu:
      return map(
          n, out, [](VF v) HWY_ATTR { return relu(v); }, x);
    case Activation::kRelu2:
      return map(
          n, out, [](VF v) HWY_ATTR { return hn::Mul(relu(v), relu(v)); }, x);
  }
}

void run_activation(const ActivationArgs& args, ThreadPool& pool) {
  visit_activation_type(args.dtype, [&]<class T>(T) HWY_ATTR {
    pool.parallel_for(args.n, 4096, [&](int64_t begin, int64_t end, int) HWY_ATTR {
      run_range<T>(args, begin, end);
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
HWY_EXPORT(run_activation);

namespace ops {

void activation_cpu(const ActivationArgs& args, ThreadPool& pool) noexcept {
  HWY_DYNAMIC_DISPATCH(run_activation)(args, pool);
}

}  // namespace ops
}  // namespace lockstep
#endif
