// Feed-forward blocks.
#pragma once

#include <string>

#include "lockstep/nn/dropout.h"
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
  /// From a config with these keys.
  template <class C>
  requires requires(const C& c) { c.intermediate_size; }
  GatedMLP(const Scope& s, const C& c)
      : GatedMLP(s, c.hidden_size, c.intermediate_size, c.hidden_act, mlp_bias_of(c)) {}

  Value forward(const Value& x) const {
    const Value gate = gate_proj(x);
    const Value activated = act_fn(gate);
    const Value up = up_proj(x);
    return down_proj(activated * up);
  }

 private:
  template <class C>
  static Bias mlp_bias_of(const C& c) {
    if constexpr (requires { c.mlp_bias; }) return c.mlp_bias;
    return Bias::kNo;
  }
};

/// The same with gate and up in one projection, as Phi3MLP. [T, H] -> [T, H]
struct FusedGatedMLP : Module<FusedGatedMLP> {
  static constexpr const char* kClass = "FusedGatedMLP";
  int64_t intermediate_size;
  Linear gate_up_proj, down_proj;
  Activation activation_fn;

  template <class C>
  FusedGatedMLP(const Scope& s, const C& c)
      : Module(s),
        intermediate_size(c.intermediate_size),
        gate_up_proj(s / "gate_up_proj", c.hidden_size, 2 * c.intermediate_size),
        down_proj(s / "down_proj", c.intermediate_size, c.hidden_size),
        activation_fn(s / "activation_fn", c.hidden_act) {}

  Value forward(const Value& x) const {
    const Value both = gate_up_proj(x);
    const Value activated = activation_fn(slice(both, 0, intermediate_size));
    return down_proj(slice(both, intermediate_size, 2 * intermediate_size) * activated);
  }
};

}  // namespace lockstep
