// y = (x - mean(x)) * rsqrt(variance(x) + eps) over the last dimension; out = y * weight + bias
// The variance is the mean of the squared distances from the mean (torch.nn.LayerNorm's).
//
// Rounding: everything in float32, one rounding to x's type. `ref` takes mean and variance in
// float64.
#pragma once

#include "ops/op.h"

namespace lockstep::ops {

struct LayerNormArgs {
  const void* x;       // [n_rows, width] of dtype
  const void* weight;  // [n_weights, width] of weight_dtype, any alignment
  const void* bias;    // [width] of bias_dtype, any alignment, or nullptr
  void* out;           // [n_rows, width] of dtype
  int64_t n_rows, width;
  int64_t n_weights;  // row r takes weights r % n_weights; 1 with a bias
  float eps;
  DType dtype, weight_dtype, bias_dtype;
};

void layer_norm_ref(const LayerNormArgs& args, ThreadPool& pool) noexcept;
void layer_norm_cpu(const LayerNormArgs& args, ThreadPool& pool) noexcept;

/// (x [..., H], weight [H], bias [H] or none) or (x [..., heads, H], weight [heads, H]) -> x's
/// type. Attribute: eps.
extern const OpDef layer_norm;

}  // namespace lockstep::ops
