// out[t, h] = a[t, h] followed by b[t, h]; a side with one head gives it to all heads of the other.
//
// Rounding: none.
#pragma once

#include "ops/op.h"

namespace lockstep::ops {

struct ConcatArgs {
  const void* a;  // [n_tokens, a_heads, a_bytes]
  const void* b;  // [n_tokens, b_heads, b_bytes]
  void* out;      // [n_tokens, n_heads, a_bytes + b_bytes]
  int64_t n_tokens, a_heads, b_heads, n_heads;
  size_t a_bytes, b_bytes;
};

void concat_ref(const ConcatArgs& args, ThreadPool& pool) noexcept;
void concat_cpu(const ConcatArgs& args, ThreadPool& pool) noexcept;

/// (a [T, Ha, A], b [T, Hb, B] of a's type) -> [T, H, A + B], Ha and Hb each H or 1.
extern const OpDef concat;

}  // namespace lockstep::ops
