// The selective state-space scan of Mamba, for a ragged batch, with a state of one row a channel
// and sequence.
//
//   delta[t, c] = softplus(dt[t, c])                                  A[c, n] = -exp(A_log[c, n])
//   state[c, n] = state[c, n] * exp(delta * A[c, n]) + delta * x[t, c] * B[t, n]
//   y[t, c]     = sum_n state[c, n] * C[t, n] + D[c] * x[t, c]
//
// Rounding: everything in float32, y and delta too: nothing is rounded to x's type. The state is
// rounded after each token, so chunks, batches and threads change no bits. `ref` sums in float64.
#pragma once

#include "ops/op.h"

namespace lockstep::ops {

struct SelectiveScanArgs {
  const void* x;               // [n_tokens, channels] of dtype
  const void* b;               // [n_tokens, state_size] of dtype
  const void* c;               // [n_tokens, state_size] of dtype
  const void* dt;              // [n_tokens, channels] of dtype
  const void* a_log;           // [channels, state_size] of a_log_dtype, any alignment
  const void* d;               // [channels] of d_dtype, any alignment
  const int32_t* row_offsets;  // [n_sequences + 1]
  const int32_t* slots;        // [n_sequences], distinct
  float* state;                // [n_slots, channels, state_size]
  float* y;                    // [n_tokens, channels]
  float* delta;                // [n_tokens, channels]
  int64_t n_tokens, n_sequences, channels, state_size;
  DType dtype, a_log_dtype, d_dtype;
};

void selective_scan_ref(const SelectiveScanArgs& args, ThreadPool& pool) noexcept;
void selective_scan_cpu(const SelectiveScanArgs& args, ThreadPool& pool) noexcept;

/// (x [T, C], B [T, N], C [T, N], dt [T, C], A_log [C, N], D [C], row_offsets int32[S + 1],
/// state_slots int32[S], state float32[slots, C, N]) -> y float32[T, C], delta float32[T, C].
/// Writes the state.
extern const OpDef selective_scan;

}  // namespace lockstep::ops
