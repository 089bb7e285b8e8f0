// The selective state-space scan of Mamba 2 (state-space duality), for a ragged batch, with a state
// of one matrix a head and sequence. Head h reads B and C of group h / (n_heads / n_groups).
//
//   delta[t, h] = softplus(dt[t, h] + dt_bias[h])
//   step[t, h]  = clamp(delta[t, h], dt_min, dt_max)                          A[h] = -exp(A_log[h])
//   state[p, n] = state[p, n] * exp(step * A) + step * x[t, h, p] * B[t, n]
//   y[t, h, p]  = sum_n state[p, n] * C[t, n] + D[h] * x[t, h, p]
//
// Rounding: everything in float32, y and delta too: nothing is rounded to x's type. That is what
// the reference does in a prefill, but for delta, which it rounds to bfloat16 where that is the
// type; here it never is. A recurrence rounds the state after each token, the chunked form after
// each chunk. `ref` sums in float64.
#pragma once

#include "ops/op.h"

namespace lockstep::ops {

struct SsdScanArgs {
  const void* x;               // [n_tokens, n_heads, head_dim] of dtype
  const void* b;               // [n_tokens, n_groups, state_size] of dtype
  const void* c;               // [n_tokens, n_groups, state_size] of dtype
  const void* dt;              // [n_tokens, n_heads] of dtype
  const void* a_log;           // [n_heads] of a_log_dtype, any alignment
  const void* d;               // [n_heads] of d_dtype, any alignment
  const void* dt_bias;         // [n_heads] of dt_bias_dtype, any alignment
  const int32_t* row_offsets;  // [n_sequences + 1]
  const int32_t* slots;        // [n_sequences], distinct
  float* state;                // [n_slots, n_heads, head_dim, state_size]
  float* y;                    // [n_tokens, n_heads, head_dim]
  float* delta;                // [n_tokens, n_heads]
  int64_t n_tokens, n_sequences, n_heads, head_dim, n_groups, state_size;
  float dt_min, dt_max;
  DType dtype, a_log_dtype, d_dtype, dt_bias_dtype;
};

/// Writes args.delta: what every kernel begins with.
void ssd_deltas(const SsdScanArgs& args, ThreadPool& pool) noexcept;
/// step[t, h], of the deltas.
float ssd_step(const SsdScanArgs& args, int64_t token, int64_t head) noexcept;
/// A[h].
float ssd_decay_rate(const SsdScanArgs& args, int64_t head) noexcept;

void ssd_scan_ref(const SsdScanArgs& args, ThreadPool& pool) noexcept;
/// Token by token: chunks, batches and threads do not change a row's bits, nor the state's.
void ssd_scan_recurrent(const SsdScanArgs& args, ThreadPool& pool) noexcept;
/// Products of matrices in chunks of tokens counted from the first of the call.
void ssd_scan_chunked(const SsdScanArgs& args, ThreadPool& pool) noexcept;

/// (x [T, H, P], B [T, G, N], C [T, G, N], dt [T, H], A_log [H], D [H], dt_bias [H],
/// row_offsets int32[S + 1], state_slots int32[S], state float32[slots, H, P, N])
/// -> y float32[T, H, P], delta float32[T, H]. Attributes: dt_min (default 0), dt_max (default
/// infinity). Writes the state.
extern const OpDef ssd_scan;

}  // namespace lockstep::ops
