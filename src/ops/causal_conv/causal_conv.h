// Depthwise causal convolution over the tokens of each sequence, for a ragged batch, with a state
// of the newest inputs of the sequence.
//
//   u[t, c]   = bias[c] + sum_k weight[c, k] * x[t - (K - 1) + k, c]
//   out[t, c] = f(T(u)), f the activation
//
// What lies before the first token of the step is read from the state, [slots, channels, window],
// window K - 1 or K, the newest column last; then the state takes the newest columns.
//
// Rounding: the sum in float32, k in order; T rounds to x's type, f is of the rounded value, and
// one rounding more, as a convolution and an activation one after the other. The state holds x as
// it came.
#pragma once

#include "ops/op.h"

namespace lockstep::ops {

struct CausalConvArgs {
  const void* x;               // [n_tokens, channels] of dtype
  const void* weight;          // [channels, kernel] of weight_dtype, any alignment
  const void* bias;            // [channels] of bias_dtype, any alignment; may be nullptr
  const int32_t* row_offsets;  // [n_sequences + 1]
  const int32_t* slots;        // [n_sequences], distinct
  void* state;                 // [n_slots, channels, window] of dtype
  void* out;                   // [n_tokens, channels] of dtype
  int64_t n_sequences, channels, kernel, window;
  bool silu;
  DType dtype, weight_dtype, bias_dtype;
};

void causal_conv_ref(const CausalConvArgs& args, ThreadPool& pool) noexcept;
void causal_conv_cpu(const CausalConvArgs& args, ThreadPool& pool) noexcept;

/// (x [T, C], weight [C, 1, K] or [C, K], row_offsets int32[S + 1], state_slots int32[S],
/// state [slots, C, K - 1 or K] of x's type, optional bias [C]) -> x's type. Attribute: fn, "none"
/// (default) or "silu". Writes the state.
extern const OpDef causal_conv;

}  // namespace lockstep::ops
