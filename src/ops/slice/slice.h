// out = ranges of x along one dimension, one after the other. Of a graph divided among ranks also
// what one rank keeps of a value that every rank has.
//
// Rounding: none.
#pragma once

#include "ops/op.h"

namespace lockstep::ops {

struct SliceArgs {
  const void* x;                    // [outer, size, inner_bytes]
  void* out;                        // [outer, sum of the ranges, inner_bytes]
  std::span<const int64_t> bounds;  // begin, end of each range in [0, size)
  int64_t outer, size;
  size_t inner_bytes;
};

void slice_ref(const SliceArgs& args, ThreadPool& pool) noexcept;
void slice_cpu(const SliceArgs& args, ThreadPool& pool) noexcept;

/// (x [...]) -> x's type with dimension `dim` as long as the ranges together. Attributes: bounds
/// (begin, end of each range), dim (default the last; not 0).
extern const OpDef slice;

}  // namespace lockstep::ops
