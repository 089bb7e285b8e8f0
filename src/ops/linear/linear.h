// out[r, n] = sum_k x[r, k] * weight[n, k] + bias[n]
//
// Rounding: products and sums in float32 (in the order that the kernel chooses), the bias added in
// float32, one rounding to the result's type. `ref` sums in float64.
#pragma once

#include "ops/op.h"

namespace lockstep::ops {

struct LinearArgs {
  const void* x;       // [n_rows, k] of dtype
  const void* weight;  // [n, k] of weight_dtype, any alignment
  const void* bias;    // [n] of bias_dtype, or nullptr
  void* out;           // [n_rows, n] of out_dtype
  int64_t n_rows, n, k;
  DType dtype, weight_dtype, bias_dtype, out_dtype;  // out_dtype: float32 or dtype
};

void linear_ref(const LinearArgs& args, ThreadPool& pool) noexcept;
/// Each output is one sum along k in an order that depends on k and the CPU's vectors alone.
void linear_cpu(const LinearArgs& args, ThreadPool& pool) noexcept;

const char* linear_onednn_refuse(const LinearArgs& args);
void linear_onednn(const LinearArgs& args, ThreadPool& pool) noexcept;

/// (x [..., K], weight [N, K], bias [N] or none) -> [..., N] of x's type. Attribute: partial (1:
/// float32, an addend of a sum over ranks).
extern const OpDef linear;

}  // namespace lockstep::ops
