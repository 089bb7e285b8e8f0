// Feed-forward blocks.
#pragma once

#include <string>

#include "lockstep/nn/linear.h"
#include "lockstep/ops.h"

namespace lockstep {

/// An entry of transformers' ACT2FN as a module.
struct Activation : Module<Activation> {
  static constexpr const char* kClass = "Activation";
  std::string fn;

  Activation(const Scope& s, std::string name) : Module(s), fn(std::move(name)) {}
  Value forward(const Value& x) const { return activation(x, fn); }
};

/// down_proj(act_fn(gate_proj(x)) * up_proj(x)), as LlamaMLP. [T, H] -> [T, H]
struct GatedMLP : Module<GatedMLP> {
  static constexpr const char* kClass = "GatedMLP";
  Linear gate_proj, up_proj, down_proj;
  Activation act_fn;

  GatedMLP(const Scope& s, int64_t hidden_size, int64_t intermediate_size,
           const std::string& hidden_act, Bias bias = Bias::kNo)
      : Module(s),
        gate_proj(s / "gate_proj", hidden_size, intermediate_size, bias),
        up_proj(s / "up_proj", hidden_size, intermediate_size, bias),
        down_proj(s / "down_proj", intermediate_size, hidden_size, bias),
        act_fn(s / "act_fn", hidden_act) {}

  Value forward(const Value& x) const {
    const Value gate = gate_proj(x);
    const Value activated = act_fn(gate);
    const Value up = up_proj(x);
    return down_proj(activated * up);
  }
};

}  // namespace lockstep
