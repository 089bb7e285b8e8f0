// The cosines and sines that rope multiplies with:
//   angle[t, i] = float32(positions[t]) * inv_freq[i], a float32 product
//   kHalf: cos[t, :] = cat(c, c); kInterleaved: each c twice; c = cos(angle) * attention_scaling
//
// From position switch_length on, long_inv_freq takes the place of inv_freq, or, where there is
// none, frequencies whose base grows with the length of the sequence up to this position:
//   base = dynamic_theta * (dynamic_factor * (position + 1) / switch_length
//                           - (dynamic_factor - 1))^(D / (D - 2)),  D = 2 * n_freq
//   inv_freq[i] = 1 / base^(2 i / D)
// That is the reference fed token by token; fed a prompt at once, it takes the frequencies of the
// longest position for all of them.
//
// Rounding: cos and sin are those of the float32 angle, taken in float64 and rounded to float32;
// the scaling is a float32 product. One ulp of an angle is 3e-3 at position 131,072. Every step of
// a growing base is rounded to float32, as torch does.
#pragma once

#include "ops/op.h"

namespace lockstep::ops {

enum class RotaryLayout { kHalf, kInterleaved };

struct RotaryEmbeddingArgs {
  const int32_t* positions;     // [n_tokens]
  const double* inv_freq;       // [n_freq], float32 values widened
  const double* long_inv_freq;  // [n_freq], the same, or nullptr
  float* cos;                   // [n_tokens, 2 * n_freq]
  float* sin;                   // [n_tokens, 2 * n_freq]
  int64_t n_tokens, n_freq;
  int64_t switch_length;  // 0: inv_freq at every position
  double dynamic_theta, dynamic_factor;
  float attention_scaling;
  RotaryLayout layout;
};

/// What position `position` turns by, [n_freq].
void frequencies_at(const RotaryEmbeddingArgs& args, int32_t position, float* inv_freq) noexcept;

void rotary_embedding_ref(const RotaryEmbeddingArgs& args, ThreadPool& pool) noexcept;
void rotary_embedding_cpu(const RotaryEmbeddingArgs& args, ThreadPool& pool) noexcept;

/// (positions int32[T]) -> cos, sin float32[T, 2 * len(inv_freq)]. Attributes: inv_freq (floats),
/// attention_scaling (default 1), layout ("half" or "interleaved"); switch_length (default 0), and
/// with it long_inv_freq (floats), or dynamic_theta and dynamic_factor.
extern const OpDef rotary_embedding;

}  // namespace lockstep::ops
