// out[i] = x[i] as float32: for what the reference computes in float32 in runs of another type.
//
// Rounding: none.
#pragma once

#include "ops/op.h"

namespace lockstep::ops {

struct CastArgs {
  const void* x;  // [n] of dtype
  float* out;     // [n]
  int64_t n;
  DType dtype;
};

void cast_ref(const CastArgs& args, ThreadPool& pool) noexcept;
void cast_cpu(const CastArgs& args, ThreadPool& pool) noexcept;

/// (x) -> x's shape in float32. Attribute: dtype ("float32").
extern const OpDef cast;

}  // namespace lockstep::ops
