// Mixture of experts: the choice of experts, and their products.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lockstep/module.h"

namespace lockstep {

/// What a router decides: logits [T, E], weights float32 [T, k], ids int32 [T, k].
struct Routing {
  Value logits, weights, ids;
  std::vector<Value> values() const { return {logits, weights, ids}; }
};

struct RoutingRule {
  int64_t top_k;
  std::string scoring = "softmax";     ///< "softmax" or "sigmoid"
  std::string order = "scores_first";  ///< "topk_first": softmax over the chosen alone
  bool normalise = false;              ///< the k weights sum to 1
  double scaling = 1;
  int64_t n_group = 1, topk_group = 1;   ///< experts of the topk_group best groups alone
  std::string group_score = "two_best";  ///< a group's: the sum of its two best, or its "best"
};

/// `bias` [E] takes part in the choice, not in the weights.
inline Routing route(const Value& logits, const RoutingRule& rule,
                     const std::optional<Value>& bias = {}) {
  Builder& b = logits.builder();
  const std::vector<Attr> attrs = {
      {"top_k", rule.top_k},           {"scoring", rule.scoring},
      {"order", rule.order},           {"normalise", int64_t{rule.normalise}},
      {"scaling", rule.scaling},       {"n_group", rule.n_group},
      {"topk_group", rule.topk_group}, {"group_score", rule.group_score}};
  const std::vector<Value> chosen = bias ? b.op_n<2>("router_topk", {logits, *bias}, attrs)
                                         : b.op_n<2>("router_topk", {logits}, attrs);
  return {logits, chosen[1], chosen[0]};
}

/// Names the decision below the experts block that is being called.
inline void tap_routing(const Routing& routing) {
  Builder& b = routing.logits.builder();
  b.tap("router_logits", routing.logits);
  b.tap("topk_ids", routing.ids);
  b.tap("topk_weights", routing.weights);
}

/// A family's names for the projections of one expert.
struct ExpertNames {
  const char *gate = "gate_proj", *up = "up_proj", *down = "down_proj";
};

/// Gated experts, gate_up_proj [E, 2 I, H] and down_proj [E, H, I], stored like that or expert by
/// expert as `<stored path>.<e>.<name>.weight`. x [T, H] -> [T, H]
struct Experts : Module<Experts> {
  static constexpr const char* kClass = "Experts";
  std::string fn;
  Value gate_up_proj, down_proj;

  Experts(const Scope& s, int64_t n_experts, int64_t hidden_size, int64_t intermediate_size,
          std::string hidden_act, const ExpertNames& names = {})
      : Module(s), fn(std::move(hidden_act)) {
    const std::string first = s.stored() + ".0." + names.gate + ".weight";
    if (!s.builder().parameter_exists(first)) {
      gate_up_proj = s.parameter("gate_up_proj", {n_experts, 2 * intermediate_size, hidden_size});
      down_proj = s.parameter("down_proj", {n_experts, hidden_size, intermediate_size});
      return;
    }
    std::vector<Part> gate_up, down;
    for (int64_t e = 0; e < n_experts; ++e) {
      const std::string expert = s.stored() + "." + std::to_string(e) + ".";
      gate_up.push_back({expert + names.gate + ".weight"});
      gate_up.push_back({expert + names.up + ".weight"});
      down.push_back({expert + names.down + ".weight"});
    }
    gate_up_proj = s.builder().parameter_of(
        (s / "gate_up_proj").path(), {n_experts, 2 * intermediate_size, hidden_size}, gate_up);
    down_proj = s.builder().parameter_of((s / "down_proj").path(),
                                         {n_experts, hidden_size, intermediate_size}, down);
  }

  /// The same of weights that a family stores stacked under names of its own.
  Experts(const Scope& s, std::string hidden_act, const Value& gate_up, const Value& down)
      : Module(s), fn(std::move(hidden_act)), gate_up_proj(gate_up), down_proj(down) {}

  Value forward(const Value& x, const Value& ids, const Value& weights) const {
    return x.builder().op("experts", {x, ids, weights, gate_up_proj, down_proj}, {{"fn", fn}});
  }
};

}  // namespace lockstep
