// out[t, :] = weight[ids[t], :]
//
// Rounding: each value is rounded once, from the weight's type to the activation type.
#pragma once

#include "ops/op.h"

namespace lockstep::ops {

struct EmbeddingArgs {
  const int32_t* ids;  // [n_tokens], each in [0, vocabulary)
  const void* weight;  // [vocabulary, width] of weight_dtype, any alignment
  void* out;           // [n_tokens, width] of dtype
  int64_t n_tokens, vocabulary, width;
  DType weight_dtype, dtype;
};

void embedding_ref(const EmbeddingArgs& args, ThreadPool& pool) noexcept;
void embedding_cpu(const EmbeddingArgs& args, ThreadPool& pool) noexcept;

/// (ids int32[T], weight [V, H]) -> [T, H] of the activation type.
extern const OpDef embedding;

}  // namespace lockstep::ops
