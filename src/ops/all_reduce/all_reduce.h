// out = the sum of x over the ranks, added in their order: the same bits on every rank.
//
// Rounding: float32 sums, one rounding to the result's type.
#pragma once

#include "base/communicator.h"
#include "ops/op.h"

namespace lockstep::ops {

struct AllReduceArgs {
  const void* x;  // [n] of dtype
  void* out;      // [n] of out_dtype
  int64_t n;
  DType dtype, out_dtype;
  Communicator* others;  // nullptr: alone
};

void all_reduce_ref(const AllReduceArgs& args, ThreadPool& pool) noexcept;
/// Each rank adds up all of it: for the few rows of decoding that is less than meeting once more.
void all_reduce_cpu(const AllReduceArgs& args, ThreadPool& pool) noexcept;

/// (x [...]) -> x's shape. Attribute: to, the name of the result's type.
extern const OpDef all_reduce;

}  // namespace lockstep::ops
