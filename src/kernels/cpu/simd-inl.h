// Vectors of float32 from and to memory of float32, bfloat16 or float16, whole or in part, for one
// Highway target. Include in files that foreach_target.h compiles again for each target.
#if defined(LOCKSTEP_KERNELS_CPU_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOCKSTEP_KERNELS_CPU_SIMD_INL_H_
#undef LOCKSTEP_KERNELS_CPU_SIMD_INL_H_
#else
#define LOCKSTEP_KERNELS_CPU_SIMD_INL_H_
#endif

#include <hwy/highway.h>

#include <cstring>

#include "tensor/dtype.h"

HWY_BEFORE_NAMESPACE();
namespace lockstep {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using bf16 = hwy::bfloat16_t;
using f16 = hwy::float16_t;
using F32 = hn::ScalableTag<float>;
using VF = hn::Vec<F32>;

/// Calls `body` with a value of the element type of `dtype`: float, bf16 or f16.
template <class Body>
HWY_INLINE void visit_float_type(DType dtype, const Body& body) {
  switch (dtype) {
    case DType::kBFloat16:
      return body(bf16{});
    case DType::kFloat16:
      return body(f16{});
    default:
      return body(float{});
  }
}

/// As visit_float_type, for activations: float or bf16.
template <class Body>
HWY_INLINE void visit_activation_type(DType dtype, const Body& body) {
  if (dtype == DType::kBFloat16) return body(bf16{});
  return body(float{});
}

HWY_INLINE VF load(F32 d, const float* p) { return hn::LoadU(d, p); }
HWY_INLINE VF load(F32 d, const bf16* p) {
  const hn::Rebind<uint16_t, F32> d16;
  const hn::RebindToUnsigned<F32> d32;
  const auto bits = hn::LoadU(d16, reinterpret_cast<const uint16_t*>(p));
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(d32, bits)));
}
HWY_INLINE VF load(F32 d, const f16* p) {
  return hn::PromoteTo(d, hn::LoadU(hn::Rebind<f16, F32>(), p));
}

/// The first `n` lanes from memory, n < Lanes; the others 0.
template <class T>
HWY_INLINE VF load_n(F32 d, const T* p, size_t n) {
  HWY_ALIGN T buffer[HWY_MAX_BYTES / sizeof(float)] = {};
  std::memcpy(static_cast<void*>(buffer), p, n * sizeof(T));
  return load(d, buffer);
}

HWY_INLINE void store(F32 d, VF v, float* p) { hn::StoreU(v, d, p); }
/// Rounds to nearest even; NaN stays NaN.
HWY_INLINE void store(F32, VF v, bf16* p) {
  const hn::RebindToUnsigned<F32> du;
  const hn::RebindToSigned<F32> di;
  const hn::Rebind<uint16_t, F32> d16;
  const auto bits = hn::BitCast(du, v);
  const auto high = hn::ShiftRight<16>(bits);
  const auto odd = hn::And(high, hn::Set(du, 1u));
  const auto rounded = hn::ShiftRight<16>(hn::Add(hn::Add(bits, hn::Set(du, 0x7fffu)), odd));
  const auto is_nan = hn::RebindMask(du, hn::IsNaN(v));
  const auto result = hn::IfThenElse(is_nan, hn::Or(high, hn::Set(du, 0x40u)), rounded);
  hn::StoreU(hn::DemoteTo(d16, hn::BitCast(di, result)), d16, reinterpret_cast<uint16_t*>(p));
}

/// The first `n` lanes to memory, n < Lanes.
template <class T>
HWY_INLINE void store_n(F32 d, VF v, T* p, size_t n) {
  HWY_ALIGN T buffer[HWY_MAX_BYTES / sizeof(float)];
  store(d, v, buffer);
  std::memcpy(static_cast<void*>(p), buffer, n * sizeof(T));
}

/// `v` rounded to T and widened again.
HWY_INLINE VF round_as(F32, VF v, float) { return v; }
HWY_INLINE VF round_as(F32 d, VF v, bf16) {
  const hn::RebindToUnsigned<F32> du;
  const auto bits = hn::BitCast(du, v);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1u));
  const auto rounded = hn::Add(hn::Add(bits, hn::Set(du, 0x7fffu)), odd);
  const auto kept = hn::BitCast(d, hn::And(rounded, hn::Set(du, 0xffff0000u)));
  return hn::IfThenElse(hn::IsNaN(v), v, kept);
}

/// out[i] = fn(a[i], b[i], ...) for i in [0, n), a vector at a time.
template <class T, class Fn, class... In>
HWY_INLINE void map(size_t n, T* out, const Fn& fn, const In*... in) {
  const F32 d;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) store(d, fn(load(d, in + i)...), out + i);
  if (i < n) store_n(d, fn(load_n(d, in + i, n - i)...), out + i, n - i);
}

/// Widens `n` values and writes zeros up to `padded`.
template <class T>
HWY_INLINE void widen(const T* from, size_t n, float* to, size_t padded) {
  map(
      n, to, [](VF v) HWY_ATTR { return v; }, from);
  std::memset(to + n, 0, (padded - n) * sizeof(float));
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace lockstep
HWY_AFTER_NAMESPACE();

#endif
