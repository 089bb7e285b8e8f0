// out[t, :] = weight[ids[t] - first_row, :], zeros where the weight has no such row
//
// Rounding: each value is rounded once, from the weight's type to the activation type.
#pragma once

#include "ops/op.h"

namespace lockstep::ops {

struct EmbeddingArgs {
  const int32_t* ids;  // [n_tokens], each in [0, vocabulary)
  const void* weight;  // [n_rows, width] of weight_dtype, any alignment
  void* out;           // [n_tokens, width] of dtype
  int64_t n_tokens;
  int64_t first_row, n_rows;  // of the vocabulary, that the weight has: of a rank, some
  int64_t vocabulary, width;
  DType weight_dtype, dtype;
};

/// The weight's row of token t, or -1.
inline int64_t weight_row(const EmbeddingArgs& args, int64_t t) noexcept {
  const int64_t row = args.ids[t] - args.first_row;
  return row >= 0 && row < args.n_rows ? row : -1;
}

void embedding_ref(const EmbeddingArgs& args, ThreadPool& pool) noexcept;
void embedding_cpu(const EmbeddingArgs& args, ThreadPool& pool) noexcept;

/// (ids int32[T], weight [V, H]) -> [T, H] of the activation type. Attributes of one rank's rows:
/// first_row (default 0), vocabulary (default: the weight's rows).
extern const OpDef embedding;

}  // namespace lockstep::ops
