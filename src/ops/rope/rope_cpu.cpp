#include "kernels/cpu/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/rope/rope_cpu.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/simd-inl.h"
#include "ops/rope/rope.h"

HWY_BEFORE_NAMESPACE();
namespace lockstep {
namespace HWY_NAMESPACE {
namespace {

using ops::RopeArgs;
using ops::RopeStyle;

// Products and their sum are rounded apart, as the contract says: no fused multiply-add.

template <class T>
HWY_INLINE void rotate_half(const T* x, const float* cos, const float* sin, T* out, size_t n) {
  const size_t half = n / 2;
  map(
      half, out,
      [](VF a, VF b, VF c, VF s) HWY_ATTR { return hn::Sub(hn::Mul(a, c), hn::Mul(b, s)); }, x,
      x + half, cos, sin);
  map(
      half, out + half,
      [](VF b, VF a, VF c, VF s) HWY_ATTR { return hn::Add(hn::Mul(b, c), hn::Mul(a, s)); },
      x + half, x, cos + half, sin + half);
}

/// Changes lanes 2i and 2i + 1 and negates the first.
HWY_INLINE VF turn_pairs(VF v) {
#if HWY_TARGET == HWY_SCALAR
  return v;
#else
  const F32 d;
  const hn::RebindToUnsigned<F32> du;
  const hn::Repartition<uint64_t, F32> d64;
  const auto sign = hn::BitCast(d, hn::BitCast(du, hn::Set(d64, uint64_t{0x80000000u})));
  return hn::Xor(hn::Shuffle2301(v), sign);
#endif
}

template <class T>
HWY_INLINE void rotate_pairs(const T* x, const float* cos, const float* sin, T* out, size_t n) {
#if HWY_TARGET == HWY_SCALAR
  for (size_t i = 0; i < n; i += 2) {
    const F32 d;
    const VF a = load(d, x + i), b = load(d, x + i + 1);
    store(d, hn::Sub(hn::Mul(a, load(d, cos + i)), hn::Mul(b, load(d, sin + i))), out + i);
    store(d, hn::Add(hn::Mul(b, load(d, cos + i + 1)), hn::Mul(a, load(d, sin + i + 1))),
          out + i + 1);
  }
#else
  map(
      n, out,
      [](VF v, VF c, VF s) HWY_ATTR { return hn::Add(hn::Mul(v, c), hn::Mul(turn_pairs(v), s)); },
      x, cos, sin);
#endif
}

/// to[0 .. n) = from[0], from[0], from[1], from[1], ...
HWY_INLINE void repeat_each(const float* from, size_t n, float* to) {
  for (size_t i = 0; i < n; ++i) to[i] = from[i / 2];
}

/// Adjacent pairs in, halves out.
template <class T>
HWY_INLINE void rotate_pairs_to_half(const T* x, const float* cos, const float* sin, T* out,
                                     size_t n) {
  const F32 d;
  const size_t half = n / 2;
  const auto turn = [&](size_t i, VF a, VF b, const auto& put) HWY_ATTR {
    const auto table = [&](const float* p) HWY_ATTR {
      return i + hn::Lanes(d) <= half ? load(d, p + i) : load_n(d, p + i, half - i);
    };
    put(hn::Sub(hn::Mul(a, table(cos)), hn::Mul(b, table(sin))), out + i);
    put(hn::Add(hn::Mul(b, table(cos + half)), hn::Mul(a, table(sin + half))), out + half + i);
  };
  size_t i = 0;
#if HWY_TARGET != HWY_SCALAR
  for (const size_t lanes = hn::Lanes(d); i + lanes <= half; i += lanes) {
    const VF low = load(d, x + 2 * i), high = load(d, x + 2 * i + lanes);
    turn(i, hn::ConcatEven(d, high, low), hn::ConcatOdd(d, high, low),
         [d](VF v, T* to) HWY_ATTR { store(d, v, to); });
  }
#endif
  for (; i < half; ++i) {
    turn(i, load_n(d, x + 2 * i, 1), load_n(d, x + 2 * i + 1, 1),
         [d](VF v, T* to) HWY_ATTR { store_n(d, v, to, 1); });
  }
}

/// `scratch` holds 2 * n_rotated.
template <class T>
void rope_token(const RopeArgs& args, int64_t token, float* scratch) {
  const size_t n = static_cast<size_t>(args.n_rotated);
  const size_t rest = static_cast<size_t>(args.head_dim - args.n_rotated);
  const float* cos = args.cos + token * args.n_rotated;
  const float* sin = args.sin + token * args.n_rotated;
  if (args.style == RopeStyle::kInterleavedByHalf) {
    repeat_each(cos, n, scratch);
    repeat_each(sin, n, scratch + n);
    cos = scratch;
    sin = scratch + n;
  }
  for (int64_t h = 0; h < args.n_heads; ++h) {
    const int64_t at = (token * args.n_heads + h) * args.head_dim;
    const T* x = static_cast<const T*>(args.x) + at;
    T* out = static_cast<T*>(args.out) + at;
    switch (args.style) {
      case RopeStyle::kHalf:
        rotate_half(x, cos, sin, out, n);
        break;
      case RopeStyle::kInterleaved:
      case RopeStyle::kInterleavedByHalf:
        rotate_pairs(x, cos, sin, out, n);
        break;
      case RopeStyle::kInterleavedToHalf:
        rotate_pairs_to_half(x, cos, sin, out, n);
        break;
    }
    std::memcpy(static_cast<void*>(out + n), x + n, rest * sizeof(T));
  }
}

void run_rope(const RopeArgs& args, ThreadPool& pool) {
  const int64_t grain = 1 + 8192 / (args.n_heads * args.head_dim + 1);
  visit_activation_type(args.dtype, [&]<class T>(T) HWY_ATTR {
    pool.parallel_for(args.n_tokens, grain, [&](int64_t begin, int64_t end, int worker) HWY_ATTR {
      const size_t bytes = 2 * static_cast<size_t>(args.n_rotated) * sizeof(float);
      float* scratch = static_cast<float*>(pool.scratch(worker, bytes));
      for (int64_t t = begin; t < end; ++t) rope_token<T>(args, t, scratch);
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
HWY_EXPORT(run_rope);

namespace ops {

void rope_cpu(const RopeArgs& args, ThreadPool& pool) noexcept {
  HWY_DYNAMIC_DISPATCH(run_rope)(args, pool);
}

}  // namespace ops
}  // namespace lockstep
#endif
