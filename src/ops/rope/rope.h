// Rotates the first n_rotated of each head's values; the rest passes through.
//   kHalf:        out[i] = x[i] * cos[i] + rotate_half(x)[i] * sin[i], rotate_half = cat(-x2, x1)
//   kInterleaved: the same on adjacent pairs, rotate(x) = (-x[1], x[0], -x[3], x[2], ...)
//   kInterleavedByHalf: as kInterleaved with cos[0], cos[0], cos[1], cos[1], ...: the first half of
//     tables in the order of kHalf
//   kInterleavedToHalf: adjacent pairs in, halves out: as kHalf on cat(x[0::2], x[1::2])
//
// Rounding: both products and their sum in float32, one rounding to x's type.
#pragma once

#include "ops/op.h"

namespace lockstep::ops {

enum class RopeStyle { kHalf, kInterleaved, kInterleavedByHalf, kInterleavedToHalf };

struct RopeArgs {
  const void* x;     // [n_tokens, n_heads, head_dim] of dtype
  const float* cos;  // [n_tokens, n_rotated]
  const float* sin;  // [n_tokens, n_rotated]
  void* out;         // [n_tokens, n_heads, head_dim] of dtype
  int64_t n_tokens, n_heads, head_dim, n_rotated;
  RopeStyle style;
  DType dtype;
};

void rope_ref(const RopeArgs& args, ThreadPool& pool) noexcept;
void rope_cpu(const RopeArgs& args, ThreadPool& pool) noexcept;

/// (x [T, heads, head_dim], cos float32[T, D], sin float32[T, D]) -> x's type; D even and at most
/// head_dim. Attribute: style ("half", "interleaved", "interleaved_by_half" or
/// "interleaved_to_half").
extern const OpDef rope;

}  // namespace lockstep::ops
