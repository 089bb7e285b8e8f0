// The cosines and sines that rope multiplies with:
//   angle[t, i] = float32(positions[t]) * inv_freq[i], a float32 product
//   kHalf: cos[t, :] = cat(c, c); kInterleaved: each c twice; c = cos(angle) * attention_scaling
//
// Rounding: cos and sin are those of the float32 angle, taken in float64 and rounded to float32;
// the scaling is a float32 product. One ulp of an angle is 3e-3 at position 131,072.
#pragma once

#include "ops/op.h"

namespace lockstep::ops {

enum class RotaryLayout { kHalf, kInterleaved };

struct RotaryEmbeddingArgs {
  const int32_t* positions;  // [n_tokens]
  const double* inv_freq;    // [n_freq], float32 values widened
  float* cos;                // [n_tokens, 2 * n_freq]
  float* sin;                // [n_tokens, 2 * n_freq]
  int64_t n_tokens, n_freq;
  float attention_scaling;
  RotaryLayout layout;
};

void rotary_embedding_ref(const RotaryEmbeddingArgs& args, ThreadPool& pool) noexcept;
void rotary_embedding_cpu(const RotaryEmbeddingArgs& args, ThreadPool& pool) noexcept;

/// (positions int32[T]) -> cos, sin float32[T, 2 * len(inv_freq)]. Attributes: inv_freq (floats),
/// attention_scaling (default 1), layout ("half" or "interleaved").
extern const OpDef rotary_embedding;

}  // namespace lockstep::ops
