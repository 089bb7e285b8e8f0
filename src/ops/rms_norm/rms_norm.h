// y = x * rsqrt(mean(x^2) + eps) over the last dimension, in float32; w = weight + weight_offset
//
// Rounding: kBeforeWeight (HF Llama, Qwen): out = T(T(y) * w), T rounds to x's type.
//           kAfterWeight (HF Gemma): out = T(y * w), all in float32.
#pragma once

#include "ops/op.h"

namespace lockstep::ops {

enum class NormRounding { kBeforeWeight, kAfterWeight };

struct RmsNormArgs {
  const void* x;       // [n_rows, width] of dtype
  const void* weight;  // [width] of weight_dtype, any alignment
  void* out;           // [n_rows, width] of dtype
  int64_t n_rows, width;
  float eps, weight_offset;
  NormRounding rounding;
  DType dtype, weight_dtype;
};

void rms_norm_ref(const RmsNormArgs& args, ThreadPool& pool) noexcept;
void rms_norm_cpu(const RmsNormArgs& args, ThreadPool& pool) noexcept;

/// (x [..., H], weight [H]) -> x's type. Attributes: eps, rounding ("before_weight" or
/// "after_weight"), weight_offset (default 0).
extern const OpDef rms_norm;

}  // namespace lockstep::ops
