// GLM-4: four norms a layer, a fused gate, neighbours of half of the channels rotated. Mirrors
// transformers models/glm4/modeling_glm4.py (5.x); member names are the reference's module names,
// so they bind the weights and name the taps.
#pragma once

#include "lockstep/lockstep.h"

namespace lockstep::glm4 {

// The keys of Glm4Config that the computation reads, with Glm4Config's defaults.
struct Glm4Config : DecoderConfig {
  double norm_eps;
  std::string hidden_act;
  Bias attention_bias;
  RopeFrequencies rope;

  explicit Glm4Config(const Config& c)
      : DecoderConfig(c, {.vocab_size = 151552,
                          .hidden_size = 4096,
                          .intermediate_size = 13696,
                          .num_hidden_layers = 40,
                          .num_attention_heads = 32,
                          .num_key_value_heads = 2,
                          .head_dim = 128}),
        norm_eps(c.positive("rms_norm_eps", 1.5625e-07)),
        hidden_act(c.text("hidden_act", "silu")),
        attention_bias(Bias{c.flag("attention_bias", true)}),
        rope(rope_frequencies(c, partial_rotary_dim(c, head_dim, 0.5),
                              {.max_position_embeddings = 131072})) {}
};

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
    const Value context = self_attn(step, input_layernorm(x), positions);
    const Value attended = x + post_self_attn_layernorm(context);
    const Value fed = mlp(post_attention_layernorm(attended));
    return attended + post_mlp_layernorm(fed);
  }
};

struct Glm4 : DecoderFamily {
  static constexpr const char* kCausalLM = "Glm4ForCausalLM";
  static constexpr const char* kModel = "Glm4Model";
  using Config = Glm4Config;
  using Norm = RMSNorm;
  using Layer = DecoderLayer;
};

using Glm4ForCausalLM = CausalLM<Glm4>;

}  // namespace lockstep::glm4
