// out[i] = f(x[i]), f under its name in transformers' ACT2FN.
//
// Rounding: f of the float32 value, within 2 ulp of float32, then one rounding to x's type.
#pragma once

#include "ops/op.h"

namespace lockstep::ops {

enum class Activation {
  kSilu,
  kGelu,       // x * Phi(x), with erf
  kGeluTanh,   // gelu_pytorch_tanh, gelu_new, gelu_fast: one function, three names
  kQuickGelu,  // x * sigmoid(1.702 x)
  kRelu,
  kRelu2,
  kSigmoid,
  kTanh,
};

struct ActivationArgs {
  const void* x;  // [n] of dtype
  void* out;      // [n] of dtype
  int64_t n;
  Activation fn;
  DType dtype;
};

/// The function that the attribute `fn` names; an error names `op`.
Activation activation_of(std::string_view op, const Attrs& attrs);

void activation_ref(const ActivationArgs& args, ThreadPool& pool) noexcept;
void activation_cpu(const ActivationArgs& args, ThreadPool& pool) noexcept;

/// (x) -> x's type. Attribute: fn.
extern const OpDef activation;

}  // namespace lockstep::ops
