// The parts of DeepseekV3ForCausalLM.
//
// Derived from DeepseekV2ForCausalLM (lockstep/archs/deepseek_v2.h).
//
// Deltas implemented: 1.
#pragma once

#include <optional>

#include "model_config.h"

namespace lockstep::port_deepseek_v3 {

using namespace lockstep::deepseek_v2;

struct Attention : ModuleFrom<Attention, LatentAttention> {
  static constexpr const char* kClass = "DeepseekV3Attention";
  using ModuleFrom::ModuleFrom;
};

// Delta 1 (modeling_deepseek_v3.py:216): experts are chosen by their scores and a bias each, which
// does not weigh them.
struct TopkRouter : Module<TopkRouter> {
  static constexpr const char* kClass = "DeepseekV3TopkRouter";
  Value weight, e_score_correction_bias;

  TopkRouter(const Scope& s, const DeepseekV3Config& c)
      : Module(s),
        weight(s.parameter("weight", {c.n_routed_experts, c.hidden_size})),
        e_score_correction_bias(s.parameter("e_score_correction_bias", {c.n_routed_experts})) {}

  Value forward(const Value& x) const { return linear(to_float32(x), weight); }
  std::optional<Value> correction() const { return e_score_correction_bias; }
};

struct MoE : SharedExpertsMoe<MoE, TopkRouter> {
  static constexpr const char* kClass = "DeepseekV3MoE";

  MoE(const Scope& s, const DeepseekV3Config& c) : SharedExpertsMoe(s, c) {}
};

}  // namespace lockstep::port_deepseek_v3
