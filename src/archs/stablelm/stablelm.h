// StableLM: LayerNorm, partial rotation, optional norms of each head, optional parallel blocks.
// Mirrors transformers models/stablelm/modeling_stablelm.py (5.x); member names are the reference's
// module names, so they bind the weights and name the taps.
#pragma once

#include <optional>

#include "lockstep/lockstep.h"

namespace lockstep::stablelm {

// The keys of StableLmConfig that the computation reads, with StableLmConfig's defaults.
struct StableLmConfig : DecoderConfig {
  double norm_eps;
  std::string hidden_act;
  Bias use_qkv_bias;
  bool qk_layernorm, use_parallel_residual;
  RopeFrequencies rope;

  explicit StableLmConfig(const Config& c)
      : DecoderConfig(c, {.vocab_size = 50304,
                          .hidden_size = 2560,
                          .intermediate_size = 6912,
                          .num_hidden_layers = 32,
                          .num_attention_heads = 32,
                          .num_key_value_heads = 32}),
        norm_eps(c.positive("layer_norm_eps", 1e-5)),
        hidden_act(c.text("hidden_act", "silu")),
        use_qkv_bias(Bias{c.flag("use_qkv_bias", false)}),
        qk_layernorm(c.flag("qk_layernorm", false)),
        use_parallel_residual(c.flag("use_parallel_residual", false)),
        rope(rope_frequencies(c, partial_rotary_dim(c, head_dim, 0.25),
                              {.max_position_embeddings = 4096})) {}
};

// A LayerNorm without bias for each head, stored head by head. In one call: the weights are those
// of the heads one after the other.
struct LayerNormPerHead : Module<LayerNormPerHead> {
  static constexpr const char* kClass = "StableLmLayerNormPerHead";
  Value weight;
  double eps;

  LayerNormPerHead(const Scope& s, int64_t dim, int64_t num_heads, double epsilon)
      : Module(s), eps(epsilon) {
    std::vector<Part> heads;
    for (int64_t h = 0; h < num_heads; ++h) heads.push_back({(s / "norms" / h / "weight").path()});
    weight = s.builder().parameter_of((s / "norms" / "weight").path(), {num_heads, dim}, heads);
  }

  Value forward(const Value& x) const {
    return x.builder().op("layer_norm", {x, weight}, {{"eps", eps}});
  }
};

struct Attention : ProjectedAttention<Attention> {
  static constexpr const char* kClass = "StableLmAttention";
  std::optional<LayerNormPerHead> q_layernorm, k_layernorm;

  Attention(const Scope& s, const StableLmConfig& c, int64_t)
      : ProjectedAttention(s, c, c.use_qkv_bias) {
    if (!c.qk_layernorm) return;
    q_layernorm.emplace(s / "q_layernorm", head_dim, c.num_attention_heads, c.norm_eps);
    k_layernorm.emplace(s / "k_layernorm", head_dim, c.num_key_value_heads, c.norm_eps);
  }

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    Value q = split_heads(q_proj(x), head_dim);
    Value k = split_heads(k_proj(x), head_dim);
    const Value v = split_heads(v_proj(x), head_dim);
    if (q_layernorm) q = (*q_layernorm)(q);
    if (k_layernorm) k = (*k_layernorm)(k);
    q = apply_rotary_pos_emb(q, positions);
    k = apply_rotary_pos_emb(k, positions);
    return o_proj(merge_heads(step.attend(q, k, v, {.scale = scaling()})));
  }
};

struct DecoderLayer : Module<DecoderLayer> {
  static constexpr const char* kClass = "StableLmDecoderLayer";
  Attention self_attn;
  GatedMLP mlp;
  LayerNorm input_layernorm;
  std::optional<LayerNorm> post_attention_layernorm;  // none: attention and MLP side by side
  Dropout dropout;

  DecoderLayer(const Scope& s, const StableLmConfig& c, int64_t layer_idx)
      : Module(s),
        self_attn(s / "self_attn", c, layer_idx),
        mlp(s / "mlp", c),
        input_layernorm(s / "input_layernorm", c.hidden_size, c.norm_eps),
        dropout(s / "dropout") {
    if (c.use_parallel_residual) return;
    post_attention_layernorm.emplace(s / "post_attention_layernorm", c.hidden_size, c.norm_eps);
  }

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    const Value normed = input_layernorm(x);
    const Value attended = x + self_attn(step, normed, positions);
    const Value fed =
        mlp(post_attention_layernorm ? (*post_attention_layernorm)(attended) : normed);
    return attended + dropout(fed);
  }
};

struct StableLm : DecoderFamily {
  static constexpr const char* kCausalLM = "StableLmForCausalLM";
  static constexpr const char* kModel = "StableLmModel";
  using Config = StableLmConfig;
  using Norm = LayerNorm;
  using Layer = DecoderLayer;
};

using StableLmForCausalLM = CausalLM<StableLm>;

}  // namespace lockstep::stablelm
