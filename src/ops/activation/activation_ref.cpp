#include <cmath>

#include "kernels/element.h"
#include "ops/activation/activation.h"

namespace lockstep::ops {
namespace {

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

double apply(Activation fn, double x) {
  switch (fn) {
    case Activation::kSilu:
      return x * sigmoid(x);
    case Activation::kGelu:
      // erfc keeps its digits where 1 + erf would cancel.
      return 0.5 * x * std::erfc(-x * 0.70710678118654752440);
    case Activation::kGeluTanh:
      // 0.5 (1 + tanh(u)) = sigmoid(2 u), without the cancellation.
      return x * sigmoid(2.0 * 0.79788456080286535588 * (x + 0.044715 * x * x * x));
    case Activation::kQuickGelu:
      return x * sigmoid(1.702 * x);
    case Activation::kRelu:
      return x < 0 ? 0.0 : x;
    case Activation::kRelu2:
      return x < 0 ? 0.0 : x * x;
    case Activation::kSigmoid:
      return sigmoid(x);
    case Activation::kTanh:
      return std::tanh(x);
  }
  return x;
}

}  // namespace

void activation_ref(const ActivationArgs& args, ThreadPool&) noexcept {
  for (int64_t i = 0; i < args.n; ++i) {
    const double x = load_float(args.x, args.dtype, i);
    store_float(args.out, args.dtype, i, static_cast<float>(apply(args.fn, x)));
  }
}

}  // namespace lockstep::ops
