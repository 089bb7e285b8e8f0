// out = the ranges of x along one dimension, one after the other: what one rank keeps of a value
// that every rank has.
//
// Rounding: none.
#pragma once

#include "ops/op.h"

namespace lockstep::ops {

struct NarrowArgs {
  const void* x;                    // [outer, size, inner_bytes]
  void* out;                        // [outer, sum of the ranges, inner_bytes]
  std::span<const int64_t> bounds;  // begin, end of each range in [0, size)
  int64_t outer, size;
  size_t inner_bytes;
};

void narrow_ref(const NarrowArgs& args, ThreadPool& pool) noexcept;
void narrow_cpu(const NarrowArgs& args, ThreadPool& pool) noexcept;

/// (x [...]) -> x's type with dimension `dim` as long as the ranges together. Attributes: dim,
/// bounds (begin, end of each range).
extern const OpDef narrow;

}  // namespace lockstep::ops
