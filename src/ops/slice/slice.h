// out[..., i] = x[..., begin + i], a range of the last dimension
//
// Rounding: none.
#pragma once

#include "ops/op.h"

namespace lockstep::ops {

struct SliceArgs {
  const void* x;  // [n_rows, row_bytes]
  void* out;      // [n_rows, n_bytes]
  int64_t n_rows;
  size_t row_bytes, offset, n_bytes;  // offset + n_bytes <= row_bytes
};

void slice_ref(const SliceArgs& args, ThreadPool& pool) noexcept;
void slice_cpu(const SliceArgs& args, ThreadPool& pool) noexcept;

/// (x [..., W]) -> [..., end - begin] of x's type. Attributes: begin, end, 0 <= begin < end <= W.
extern const OpDef slice;

}  // namespace lockstep::ops
