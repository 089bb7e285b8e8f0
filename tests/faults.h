// Faults that graph passes plant in sound ports, and what isolated replay must say of each.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "support.h"

namespace lockstep::test {

struct Fault {
  const char* name;
  const char* fixture;
  const char* module;  // path of the call whose node is changed
  const char* op;
  const char* attr;
  Attrs::Value value;
  std::set<std::string> sources;  // what must be named, and nothing else
};

/// At least two of every family, none too small for bfloat16 to show.
inline std::vector<Fault> faults() {
  return {
      {"RotationStyle",
       "llama",
       "model.layers.2.self_attn",
       "rope",
       "style",
       std::string("interleaved"),
       {"model.layers.2.self_attn/q_rot", "model.layers.2.self_attn/k_rot"}},
      {"Epsilon",
       "llama",
       "model.layers.1.input_layernorm",
       "rms_norm",
       "eps",
       1e-2,
       {"model.layers.1.input_layernorm"}},
      {"AttentionScale",
       "llama",
       "model.layers.3.self_attn",
       "attention",
       "scale",
       0.5,
       {"model.layers.3.self_attn/context"}},
      // The first sum feeds the second norm, the second one is the layer's output.
      {"NoResidual",
       "llama",
       "model.layers.1",
       "elementwise",
       "fn",
       std::string("sub"),
       {"model.layers.1.post_attention_layernorm", "model.layers.1"}},
      {"Window",
       "gemma3",
       "model.layers.0.self_attn",
       "attention",
       "window",
       int64_t{4},
       {"model.layers.0.self_attn/context"}},
      {"NoUnitOffset",
       "gemma3",
       "model.layers.2.post_feedforward_layernorm",
       "rms_norm",
       "weight_offset",
       0.0,
       {"model.layers.2.post_feedforward_layernorm"}},
      {"Activation",
       "gpt2",
       "transformer.h.1.mlp.act",
       "activation",
       "fn",
       std::string("relu"),
       {"transformer.h.1.mlp.act"}},
      {"LayerNormEpsilon",
       "gpt2",
       "transformer.h.2.ln_1",
       "layer_norm",
       "eps",
       0.5,
       {"transformer.h.2.ln_1"}},
      // The state after the run, and the norm of what the scan gives.
      {"StepLimit",
       "mamba2",
       "backbone.layers.1.mixer",
       "ssd_scan",
       "dt_max",
       0.01,
       {"backbone.layers.1.mixer/ssm_state", "backbone.layers.1.mixer.norm"}},
      {"ConvolvedActivation",
       "mamba2",
       "backbone.layers.2.mixer.act",
       "activation",
       "fn",
       std::string("relu"),
       {"backbone.layers.2.mixer.act"}},
      {"Renormalised",
       "mixtral",
       "model.layers.1.mlp.gate",
       "router_topk",
       "scaling",
       1.5,
       {"model.layers.1.mlp/topk_weights"}},
      {"ExpertActivation",
       "mixtral",
       "model.layers.2.mlp.experts",
       "experts",
       "fn",
       std::string("relu"),
       {"model.layers.2.mlp.experts"}},
      {"LatentScale",
       "deepseek_v3",
       "model.layers.1.self_attn",
       "latent_attention",
       "scale",
       0.9,
       {"model.layers.1.self_attn/context"}},
      {"RoutingFactor",
       "deepseek_v3",
       "model.layers.2.mlp",
       "router_topk",
       "scaling",
       1.0,
       {"model.layers.2.mlp/topk_weights"}},
  };
}

/// Changes the attribute of the fault's node.
inline void plant(Graph& graph, const Fault& fault) {
  size_t n = 0;
  for (Node& node : graph.nodes) {
    if (node.op == nullptr || node.op->name != fault.op) continue;
    if (graph.calls[node.call].path != fault.module) continue;
    node.attrs.set(fault.attr, fault.value);
    ++n;
  }
  ASSERT_GT(n, 0u) << fault.name;
}

}  // namespace lockstep::test
