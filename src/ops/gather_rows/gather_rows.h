// out[r, ...] = x[rows[r], ...]
//
// Rounding: none.
#pragma once

#include "ops/op.h"

namespace lockstep::ops {

struct GatherRowsArgs {
  const void* x;        // [n_rows, row_bytes]
  const int32_t* rows;  // [n_out], each in [0, n_rows)
  void* out;            // [n_out, row_bytes]
  int64_t n_rows, n_out;
  size_t row_bytes;
};

void gather_rows_ref(const GatherRowsArgs& args, ThreadPool& pool) noexcept;
void gather_rows_cpu(const GatherRowsArgs& args, ThreadPool& pool) noexcept;

/// (x [T, ...], rows int32[R]) -> [R, ...] of x's type.
extern const OpDef gather_rows;

}  // namespace lockstep::ops
