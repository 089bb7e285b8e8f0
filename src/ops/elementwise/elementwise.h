// out[i] = a[i] + b[i], a[i] - b[i], a[i] * b[i], or a[i] * factor; b may have one element a row of
// a
//
// Rounding: one float32 operation (factor as float32, with scale_in_type then rounded to a's type,
// as a tensor of one element is in torch), one rounding to a's type.
#pragma once

#include "ops/op.h"

namespace lockstep::ops {

enum class Elementwise { kAdd, kSub, kMul, kScale };

struct ElementwiseArgs {
  const void* a;  // [n] of dtype
  const void* b;  // [n / b_span] of dtype; nullptr for kScale
  void* out;      // [n] of dtype; may be a, or b where b_span is 1
  int64_t n;
  int64_t b_span;  // elements of a that one of b meets
  float factor;
  Elementwise fn;
  DType dtype;
};

void elementwise_ref(const ElementwiseArgs& args, ThreadPool& pool) noexcept;
void elementwise_cpu(const ElementwiseArgs& args, ThreadPool& pool) noexcept;

/// (a, b of a's type and of its shape, or of that with a last dimension of 1) with fn add, sub or
/// mul, or (a) with fn scale or scale_in_type and attribute factor.
extern const OpDef elementwise;

}  // namespace lockstep::ops
