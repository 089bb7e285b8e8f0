// A gated feed-forward block an expert, for the tokens that were routed to it.
//
//   for slot s of token t, e = ids[t, s]:
//     gate, up = the halves of gate_up[e] x[t]
//     y[s]     = down[e] (fn(gate) * up)
//   out[t] = weights[t, 0] * y[0] + weights[t, 1] * y[1] + ...
//
// A rank that has some of the experts adds those alone.
//
// Rounding: as the modules one by one would, and as the reference's grouped dispatch does: gate,
// up, fn(gate), their product and y each rounded to x's type (sums float32); weights and the sum
// over slots float32, products and sums rounded apart, in the order of slots, one rounding to x's
// type. `ref` sums the products in float64.
#pragma once

#include "ops/activation/activation.h"
#include "ops/op.h"

namespace lockstep::ops {

struct ExpertsArgs {
  const void* x;         // [n_tokens, width] of dtype
  const int32_t* ids;    // [n_tokens, k]; those outside [first, first + n_experts) add nothing
  const float* weights;  // [n_tokens, k]
  const void* gate_up;   // [n_experts, 2 * inner, width] of gate_up_dtype, any alignment
  const void* down;      // [n_experts, width, inner] of down_dtype, any alignment
  void* out;             // [n_tokens, width] of out_dtype
  int64_t n_tokens, k, first_expert, n_experts, width, inner;
  Activation fn;
  DType dtype, gate_up_dtype, down_dtype, out_dtype;  // out_dtype: float32 or dtype
};

/// The place of slot i's expert in the weights, or -1.
inline int64_t local_expert(const ExpertsArgs& args, int64_t i) noexcept {
  const int64_t e = args.ids[i] - args.first_expert;
  return e >= 0 && e < args.n_experts ? e : -1;
}

void experts_ref(const ExpertsArgs& args, ThreadPool& pool) noexcept;
/// Rows in groups by expert; the sums of linear's cpu.dot.
void experts_cpu(const ExpertsArgs& args, ThreadPool& pool) noexcept;

/// (x [T, H], ids int32[T, k], weights float32[T, k], gate_up [E, 2 I, H], down [E, H, I])
/// -> [T, H] of x's type. Attributes: fn, as of activation; of one rank's experts first_expert
/// (default 0), n_experts of all (default: E), partial (1: float32, an addend of a sum).
extern const OpDef experts;

}  // namespace lockstep::ops
