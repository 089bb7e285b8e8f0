// The parts of SmolLM3ForCausalLM.
//
// Derived from LlamaForCausalLM (lockstep/archs/llama.h).
//
// Deltas implemented: 1.
#pragma once

#include "model_config.h"

namespace lockstep::port_smollm3 {

using namespace lockstep::llama;

struct Attention : ModuleFrom<Attention, llama::Attention> {
  static constexpr const char* kClass = "SmolLM3Attention";
  bool use_rope;
  int64_t sliding_window;

  Attention(const Scope& s, const SmolLM3Config& c, int64_t layer_idx)
      : ModuleFrom(s, c, layer_idx),
        use_rope(c.use_rope[static_cast<size_t>(layer_idx)]),
        sliding_window(c.windows[static_cast<size_t>(layer_idx)]) {}

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    Value q = split_heads(q_proj(x), head_dim);
    Value k = split_heads(k_proj(x), head_dim);
    const Value v = split_heads(v_proj(x), head_dim);
    // Delta 1 (modeling_smollm3.py:233): layers that no_rope_layers marks with 0 do not rotate.
    if (use_rope) {
      q = apply_rotary_pos_emb(q, positions);
      k = apply_rotary_pos_emb(k, positions);
    }
    return o_proj(
        merge_heads(step.attend(q, k, v, {.scale = scaling(), .window = sliding_window})));
  }
};

}  // namespace lockstep::port_smollm3
