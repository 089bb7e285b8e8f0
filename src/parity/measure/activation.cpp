#include "parity/measure/activation.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

namespace lockstep::parity::measure {
namespace {

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double silu(double x) { return x * sigmoid(x); }
double gelu(double x) { return x * 0.5 * std::erfc(-x / std::numbers::sqrt2); }
double gelu_tanh(double x) {
  const double inner = std::sqrt(2 * std::numbers::inv_pi) * (x + 0.044715 * x * x * x);
  return 0.5 * x * (1 + std::tanh(inner));
}
double quick_gelu(double x) { return x * sigmoid(1.702 * x); }
double relu(double x) { return std::max(0.0, x); }
double relu2(double x) { return relu(x) * relu(x); }
double leaky_relu(double x) { return x > 0 ? x : 0.01 * x; }
double hyperbolic(double x) { return std::tanh(x); }
double softplus(double x) { return x > 30 ? x : std::log1p(std::exp(x)); }
double mish(double x) { return x * std::tanh(softplus(x)); }
double identity(double x) { return x; }

constexpr auto kFunctions = std::to_array<NamedFunction>({{"silu", silu},
                                                          {"gelu", gelu},
                                                          {"gelu_pytorch_tanh", gelu_tanh},
                                                          {"quick_gelu", quick_gelu},
                                                          {"relu", relu},
                                                          {"relu2", relu2},
                                                          {"leaky_relu", leaky_relu},
                                                          {"sigmoid", sigmoid},
                                                          {"tanh", hyperbolic},
                                                          {"mish", mish},
                                                          {"softplus", softplus},
                                                          {"linear", identity}});

}  // namespace

std::span<const NamedFunction> functions() { return kFunctions; }

const NamedFunction* find_function(std::string_view name) {
  if (name == "gelu_new" || name == "gelu_fast") name = "gelu_pytorch_tanh";
  if (name == "swish") name = "silu";
  const auto* at = std::ranges::find(kFunctions, name, &NamedFunction::name);
  return at == kFunctions.end() ? nullptr : at;
}

const NamedFunction* measure_function(const Array& x, const Array& by, const Array& y, double bar) {
  const NamedFunction* found = nullptr;
  for (const NamedFunction& function : kFunctions) {
    Array made = map(x, [&](double v) { return function.f(v); });
    if (!by.values.empty()) {
      made = map(std::move(made), by, [](double a, double b) { return a * b; });
    }
    if (!reproduces(made, y, bar)) continue;
    if (found != nullptr) return nullptr;
    found = &function;
  }
  return found;
}

Array gated(const Array& gate, const Array& up, const GatedForm& form) {
  const Array& g = form.swapped ? up : gate;
  const Array& u = form.swapped ? gate : up;
  Array out = g;
  for (size_t i = 0; i < out.values.size(); ++i) {
    double in = g.values[i], by = u.values[i];
    if (form.limit > 0) {
      in = std::min(in, form.limit);
      by = std::clamp(by, -form.limit, form.limit);
    }
    out.values[i] = form.function->f(form.alpha * in) / form.alpha;
    if (!form.ungated) out.values[i] *= by + form.up_offset;
  }
  return out;
}

}  // namespace lockstep::parity::measure
