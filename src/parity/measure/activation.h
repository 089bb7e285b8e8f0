// Activation functions by name, and which of them one column of numbers is of another.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "parity/measure/matrix.h"

namespace lockstep::parity::measure {

struct NamedFunction {
  std::string_view name;  // of transformers' ACT2FN where it has one
  double (*f)(double);
};
/// silu, gelu (erf), gelu_pytorch_tanh, quick_gelu, relu, relu2, leaky_relu, sigmoid, tanh, mish,
/// softplus, linear.
std::span<const NamedFunction> functions();
const NamedFunction* find_function(std::string_view name);

/// The function f with y = f(x), or y = f(x) * by where `by` is not empty, to within `bar`; nothing
/// where none is, or where two are (x too small to tell).
const NamedFunction* measure_function(const Array& x, const Array& by, const Array& y, double bar);

/// What a gated block makes of gate and up.
struct GatedForm {
  const NamedFunction* function = nullptr;
  double limit = 0;      // gate at most, up within; 0: none
  double alpha = 1;      // f(alpha * gate) / alpha
  double up_offset = 0;  // up + offset
  bool swapped = false;  // gate * f(up)
  bool ungated = false;  // f(gate) alone
};
Array gated(const Array& gate, const Array& up, const GatedForm& form);

}  // namespace lockstep::parity::measure
