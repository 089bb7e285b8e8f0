// out[..., i] = x[..., begin + i] for i in [0, end - begin)
//
// Rounding: none.
#pragma once

#include "ops/op.h"

namespace lockstep::ops {

struct SliceArgs {
  const void* x;  // [n_rows, row_bytes]
  void* out;      // [n_rows, out_bytes]
  int64_t n_rows;
  size_t row_bytes, begin_bytes, out_bytes;
};

void slice_ref(const SliceArgs& args, ThreadPool& pool) noexcept;
void slice_cpu(const SliceArgs& args, ThreadPool& pool) noexcept;

/// (x [..., N]) -> [..., end - begin] of x's type. Attributes: begin, end; 0 <= begin < end <= N.
extern const OpDef slice;

}  // namespace lockstep::ops
