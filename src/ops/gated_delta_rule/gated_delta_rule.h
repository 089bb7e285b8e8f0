// The gated delta rule of linear attention, for a ragged batch, with a state of one matrix a value
// head and sequence: a memory from keys to values that decays and is corrected by what it gets
// wrong. Value head h reads q and k of key head h / (n_heads / n_key_heads).
//
//   q^ = q / sqrt(sum q^2 + 1e-6) / sqrt(key_dim)                  k^ = k / sqrt(sum k^2 + 1e-6)
//   g[t, h]     = -exp(A_log[h]) * softplus(a[t, h] + dt_bias[h])
//   state[i, j] = state[i, j] * exp(g)
//   e[j]        = beta[t, h] * (v[t, h, j] - sum_i state[i, j] * k^[i])
//   state[i, j] = state[i, j] + k^[i] * e[j]
//   y[t, h, j]  = sum_i state[i, j] * q^[i]
//
// Rounding: everything in float32, one rounding of y to q's type. The state is rounded after each
// token, so chunks, batches and threads change no bits. `ref` sums in float64.
#pragma once

#include "ops/op.h"

namespace lockstep::ops {

struct GatedDeltaRuleArgs {
  const void* q;               // [n_tokens, n_key_heads, key_dim] of dtype
  const void* k;               // [n_tokens, n_key_heads, key_dim] of dtype
  const void* v;               // [n_tokens, n_heads, value_dim] of dtype
  const void* a;               // [n_tokens, n_heads] of dtype
  const void* beta;            // [n_tokens, n_heads] of dtype
  const void* a_log;           // [n_heads] of a_log_dtype, any alignment
  const void* dt_bias;         // [n_heads] of dt_bias_dtype, any alignment
  const int32_t* row_offsets;  // [n_sequences + 1]
  const int32_t* slots;        // [n_sequences], distinct
  float* state;                // [n_slots, n_heads, key_dim, value_dim]
  void* y;                     // [n_tokens, n_heads, value_dim] of dtype
  float* g;                    // [n_tokens, n_heads]
  int64_t n_tokens, n_sequences, n_heads, n_key_heads, key_dim, value_dim;
  DType dtype, a_log_dtype, dt_bias_dtype;
};

/// Writes args.g: what every kernel begins with.
void delta_rule_decays(const GatedDeltaRuleArgs& args, ThreadPool& pool) noexcept;

void gated_delta_rule_ref(const GatedDeltaRuleArgs& args, ThreadPool& pool) noexcept;
void gated_delta_rule_cpu(const GatedDeltaRuleArgs& args, ThreadPool& pool) noexcept;

/// (q [T, Hk, K], k [T, Hk, K], v [T, H, V], a [T, H], beta [T, H], A_log [H], dt_bias [H],
/// row_offsets int32[S + 1], state_slots int32[S], state float32[slots, H, K, V])
/// -> y [T, H, V] of q's type, g float32[T, H]. Writes the state.
extern const OpDef gated_delta_rule;

}  // namespace lockstep::ops
