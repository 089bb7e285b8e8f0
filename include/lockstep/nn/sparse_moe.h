// Blocks of routed experts, as Mixtral and Qwen wire them.
#pragma once

#include <string>

#include "lockstep/nn/linear.h"
#include "lockstep/nn/mlp.h"
#include "lockstep/nn/moe.h"
#include "lockstep/ops.h"

namespace lockstep {

/// A router without a bias, weight [E, H]. x [T, H] -> logits [T, E], and the k experts of `rule`.
struct TopKRouter : Module<TopKRouter> {
  static constexpr const char* kClass = "TopKRouter";
  RoutingRule rule;
  Value weight;

  TopKRouter(const Scope& s, int64_t n_experts, int64_t hidden_size, RoutingRule routing_rule)
      : Module(s),
        rule(std::move(routing_rule)),
        weight(s.parameter("weight", {n_experts, hidden_size})) {}

  Routing forward(const Value& x) const { return route(linear(x, weight), rule); }
};

/// A router and gated experts, as MixtralSparseMoeBlock. x [T, H] -> [T, H]
struct SparseMoeBlock : Module<SparseMoeBlock> {
  static constexpr const char* kClass = "SparseMoeBlock";
  TopKRouter gate;
  Experts experts;

  SparseMoeBlock(const Scope& s, int64_t n_experts, int64_t hidden_size, int64_t intermediate_size,
                 const std::string& hidden_act, const RoutingRule& rule,
                 const ExpertNames& names = {})
      : Module(s),
        gate(s / "gate", n_experts, hidden_size, rule),
        experts(s / "experts", n_experts, hidden_size, intermediate_size, hidden_act, names) {}

  Value forward(const Value& x) const {
    const Routing routing = gate(x);
    tap_routing(routing);
    return experts(x, routing.ids, routing.weights);
  }
};

/// The same beside an expert for every token, which a gate weighs, as Qwen2MoeSparseMoeBlock.
struct SharedExpertMoeBlock : Module<SharedExpertMoeBlock> {
  static constexpr const char* kClass = "SharedExpertMoeBlock";
  TopKRouter gate;
  Experts experts;
  GatedMLP shared_expert;
  Linear shared_expert_gate;

  SharedExpertMoeBlock(const Scope& s, int64_t n_experts, int64_t hidden_size,
                       int64_t intermediate_size, int64_t shared_intermediate_size,
                       const std::string& hidden_act, const RoutingRule& rule)
      : Module(s),
        gate(s / "gate", n_experts, hidden_size, rule),
        experts(s / "experts", n_experts, hidden_size, intermediate_size, hidden_act),
        shared_expert(s / "shared_expert", hidden_size, shared_intermediate_size, hidden_act),
        shared_expert_gate(s / "shared_expert_gate", hidden_size, 1) {}

  Value forward(const Value& x) const {
    const Value shared = shared_expert(x);
    const Routing routing = gate(x);
    tap_routing(routing);
    const Value routed = experts(x, routing.ids, routing.weights);
    const Value share = activation(shared_expert_gate(x), "sigmoid");
    return routed + shared * share;
  }
};

/// Routed experts beside shared ones that every token passes, as DeepseekV3MoE. Gate: (scope,
/// config), (x) -> logits [T, E] in float32, and `correction()`, what is added for the choice
/// alone.
template <class Derived, class Gate>
struct SharedExpertsMoe : Module<Derived> {
  RoutingRule rule;
  Experts experts;
  Gate gate;
  GatedMLP shared_experts;

  template <class C>
  SharedExpertsMoe(const Scope& s, const C& c, Bias mlp_bias = Bias::kNo)
      : Module<Derived>(s),
        rule(c.routing),
        experts(s / "experts", c.n_routed_experts, c.hidden_size, c.moe_intermediate_size,
                c.hidden_act),
        gate(s / "gate", c),
        shared_experts(s / "shared_experts", c.hidden_size,
                       c.moe_intermediate_size * c.n_shared_experts, c.hidden_act, mlp_bias) {}

  Value forward(const Value& x) const {
    const Routing routing = route(gate(x), rule, gate.correction());
    tap_routing(routing);
    const Value routed = experts(x, routing.ids, routing.weights);
    return routed + shared_experts(x);
  }
};

}  // namespace lockstep
