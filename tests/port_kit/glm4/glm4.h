// The parts of Glm4ForCausalLM.
//
// Derived from Phi3ForCausalLM (lockstep/archs/phi3.h).
//
// Deltas implemented: 1, 2, 3; and how neighbouring channels are rotated.
#pragma once

#include "model_config.h"

namespace lockstep::port_glm4 {

using namespace lockstep::phi3;

// Delta 1 (modeling_glm4.py:210): the projections of queries, keys and values have biases.

// Delta 2 (modeling_glm4.py:232): queries, keys and values have a projection each.
struct Attention : ProjectedAttention<Attention> {
  static constexpr const char* kClass = "Glm4Attention";

  Attention(const Scope& s, const Glm4Config& c, int64_t)
      : ProjectedAttention(s, c, c.attention_bias) {}

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    Value q = split_heads(q_proj(x), head_dim);
    Value k = split_heads(k_proj(x), head_dim);
    const Value v = split_heads(v_proj(x), head_dim);
    q = apply_rotary_pos_emb(q, positions, RopeStyle::kInterleavedByHalf);
    k = apply_rotary_pos_emb(k, positions, RopeStyle::kInterleavedByHalf);
    return o_proj(merge_heads(step.attend(q, k, v, {.scale = scaling()})));
  }
};

struct DecoderLayer : Module<DecoderLayer> {
  static constexpr const char* kClass = "Glm4DecoderLayer";
  Attention self_attn;
  FusedGatedMLP mlp;
  RMSNorm input_layernorm, post_attention_layernorm;
  RMSNorm post_self_attn_layernorm, post_mlp_layernorm;

  DecoderLayer(const Scope& s, const Glm4Config& c, int64_t layer_idx)
      : Module(s),
        self_attn(s / "self_attn", c, layer_idx),
        mlp(s / "mlp", c),
        input_layernorm(s / "input_layernorm", c.hidden_size, c.norm_eps),
        post_attention_layernorm(s / "post_attention_layernorm", c.hidden_size, c.norm_eps),
        post_self_attn_layernorm(s / "post_self_attn_layernorm", c.hidden_size, c.norm_eps),
        post_mlp_layernorm(s / "post_mlp_layernorm", c.hidden_size, c.norm_eps) {}

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    // Delta 3 (modeling_glm4.py:102): what attention and MLP add is normed first.
    const Value context = self_attn(step, input_layernorm(x), positions);
    const Value attended = x + post_self_attn_layernorm(context);
    const Value fed = mlp(post_attention_layernorm(attended));
    return attended + post_mlp_layernorm(fed);
  }
};

}  // namespace lockstep::port_glm4
