// out[i] = x[i] in another type: float32, or the type between modules.
//
// Rounding: one, to nearest even; none towards float32.
#pragma once

#include "ops/op.h"

namespace lockstep::ops {

struct CastArgs {
  const void* x;  // [n] of dtype
  void* out;      // [n] of out_dtype
  int64_t n;
  DType dtype, out_dtype;
};

void cast_ref(const CastArgs& args, ThreadPool& pool) noexcept;
void cast_cpu(const CastArgs& args, ThreadPool& pool) noexcept;

/// (x [...]) -> [...]. Attribute: to, "float32" or "activation".
extern const OpDef cast;

}  // namespace lockstep::ops
