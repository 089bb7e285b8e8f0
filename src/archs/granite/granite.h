// Granite: Llama with four multipliers. Mirrors transformers models/granite/modeling_granite.py
// (5.x); member names are the reference's module names, so they bind the weights and name the taps.
#pragma once

#include "lockstep/lockstep.h"

namespace lockstep::granite {

// The keys of GraniteConfig that the computation reads, with GraniteConfig's defaults.
struct GraniteConfig : DecoderConfig {
  double norm_eps;
  std::string hidden_act;
  Bias attention_bias, mlp_bias;
  double embedding_multiplier, logits_scaling, residual_multiplier, attention_multiplier;
  RopeFrequencies rope;

  explicit GraniteConfig(const Config& c)
      : DecoderConfig(c, {.vocab_size = 32000,
                          .hidden_size = 4096,
                          .intermediate_size = 11008,
                          .num_hidden_layers = 32,
                          .num_attention_heads = 32}),
        norm_eps(c.positive("rms_norm_eps", 1e-6)),
        hidden_act(c.text("hidden_act", "silu")),
        attention_bias(Bias{c.flag("attention_bias", false)}),
        mlp_bias(Bias{c.flag("mlp_bias", false)}),
        embedding_multiplier(c.number("embedding_multiplier", 1)),
        logits_scaling(c.positive("logits_scaling", 1)),
        residual_multiplier(c.number("residual_multiplier", 1)),
        attention_multiplier(c.number("attention_multiplier", 1)),
        rope(rope_frequencies(c, head_dim, {.max_position_embeddings = 2048})) {}
};

struct Attention : RotaryAttention<Attention> {
  static constexpr const char* kClass = "GraniteAttention";

  Attention(const Scope& s, const GraniteConfig& c, int64_t)
      : RotaryAttention(s, c, {.scale = c.attention_multiplier}, c.attention_bias,
                        c.attention_bias) {}
};

struct DecoderLayer : Module<DecoderLayer> {
  static constexpr const char* kClass = "GraniteDecoderLayer";
  Attention self_attn;
  GatedMLP mlp;
  RMSNorm input_layernorm, post_attention_layernorm;
  double residual_multiplier;

  DecoderLayer(const Scope& s, const GraniteConfig& c, int64_t layer_idx)
      : Module(s),
        self_attn(s / "self_attn", c, layer_idx),
        mlp(s / "mlp", c),
        input_layernorm(s / "input_layernorm", c.hidden_size, c.norm_eps),
        post_attention_layernorm(s / "post_attention_layernorm", c.hidden_size, c.norm_eps),
        residual_multiplier(c.residual_multiplier) {}

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    const Value context = self_attn(step, input_layernorm(x), positions);
    const Value attended = x + scale(context, residual_multiplier);
    const Value fed = mlp(post_attention_layernorm(attended));
    return attended + scale(fed, residual_multiplier);
  }
};

struct Granite : DecoderFamily {
  static constexpr const char* kCausalLM = "GraniteForCausalLM";
  static constexpr const char* kModel = "GraniteModel";
  using Config = GraniteConfig;
  using Norm = RMSNorm;
  using Layer = DecoderLayer;

  static Value embedded(const GraniteConfig& c, const Value& x) {
    return scale(x, c.embedding_multiplier);
  }
  static Value logits(const GraniteConfig& c, const Value& x) {
    return scale(x, 1 / c.logits_scaling);
  }
};

using GraniteForCausalLM = CausalLM<Granite>;

}  // namespace lockstep::granite
