// A gated feed-forward block an expert, for the tokens that were routed to it.
//
//   for slot s of token t, e = ids[t, s]:
//     gate, up = the halves of gate_up[e] x[t] + gate_up_bias[e], or its even and odd rows
//     gate at most limit, up from -limit to limit
//     y[s]     = down[e] (fn(gate) * (up + up_offset)) + down_bias[e]
//   out[t] = weights[t, 0] * y[0] + weights[t, 1] * y[1] + ...
//
// A rank that has some of the experts adds those alone.
//
// Rounding: as the modules one by one would, and as the reference's grouped dispatch does: gate,
// up, fn(gate), the product and y each rounded to x's type (sums float32); weights and the sum
// over slots float32, products and sums rounded apart, in the order of slots, one rounding to x's
// type. `ref` sums the products in float64.
#pragma once

#include "ops/activation/activation.h"
#include "ops/op.h"

namespace lockstep::ops {

struct ExpertsArgs {
  const void* x;             // [n_tokens, width] of dtype
  const int32_t* ids;        // [n_tokens, k]; those outside [first, first + n_experts) add nothing
  const float* weights;      // [n_tokens, k]
  const void* gate_up;       // [n_experts, 2 * inner, width] of gate_up_dtype, any alignment
  const void* down;          // [n_experts, width, inner] of down_dtype, any alignment
  const void* gate_up_bias;  // [n_experts, 2 * inner] of gate_up_bias_dtype, or nullptr
  const void* down_bias;     // [n_experts, width] of down_bias_dtype, or nullptr
  void* out;                 // [n_tokens, width] of out_dtype
  int64_t n_tokens, k, first_expert, n_experts, width, inner;
  Activation fn;
  float limit;  // infinity: none
  float up_offset;
  bool interleaved;  // rows of gate_up are gate, up, gate, up, ...; else all of gate first
  DType dtype, gate_up_dtype, down_dtype, out_dtype;  // out_dtype: float32 or dtype
  DType gate_up_bias_dtype, down_bias_dtype;
};

/// Row of gate_up for element i of gate, and how many rows further up's is.
inline int64_t gate_row(const ExpertsArgs& args, int64_t i) noexcept {
  return args.interleaved ? 2 * i : i;
}
inline int64_t up_distance(const ExpertsArgs& args) noexcept {
  return args.interleaved ? 1 : args.inner;
}

/// The place of slot i's expert in the weights, or -1.
inline int64_t local_expert(const ExpertsArgs& args, int64_t i) noexcept {
  const int64_t e = args.ids[i] - args.first_expert;
  return e >= 0 && e < args.n_experts ? e : -1;
}

void experts_ref(const ExpertsArgs& args, ThreadPool& pool) noexcept;
/// Rows in groups by expert; the sums of linear's cpu.dot.
void experts_cpu(const ExpertsArgs& args, ThreadPool& pool) noexcept;

/// (x [T, H], ids int32[T, k], weights float32[T, k], gate_up [E, 2 I, H], down [E, H, I],
/// gate_up_bias [E, 2 I] and down_bias [E, H] or neither) -> [T, H] of x's type. Attributes: fn, as
/// of activation; order ("halves" or "interleaved"), limit (none) and up_offset (0.0); of one
/// rank's experts first_expert (0), n_experts of all (E), partial (1: float32, an addend of a sum).
extern const OpDef experts;

}  // namespace lockstep::ops
