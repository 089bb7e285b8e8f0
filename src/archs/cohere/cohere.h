// Cohere: attention and MLP side by side, LayerNorm without bias, neighbours rotated, scaled
// logits. Mirrors transformers models/cohere/modeling_cohere.py (5.x); member names are the
// reference's module names, so they bind the weights and name the taps.
#pragma once

#include <optional>

#include "lockstep/lockstep.h"

namespace lockstep::cohere {

// The keys of CohereConfig that the computation reads, with CohereConfig's defaults.
struct CohereConfig : DecoderConfig {
  double norm_eps, logit_scale;
  std::string hidden_act;
  Bias attention_bias;
  bool use_qk_norm;
  RopeFrequencies rope;

  explicit CohereConfig(const Config& c)
      : DecoderConfig(c, {.vocab_size = 256000,
                          .hidden_size = 8192,
                          .intermediate_size = 22528,
                          .num_hidden_layers = 40,
                          .num_attention_heads = 64,
                          .tie_word_embeddings = true}),
        norm_eps(c.positive("layer_norm_eps", 1e-5)),
        logit_scale(c.number("logit_scale", 0.0625)),
        hidden_act(c.text("hidden_act", "silu")),
        attention_bias(Bias{c.flag("attention_bias", false)}),
        use_qk_norm(c.flag("use_qk_norm", false)),
        rope(rope_frequencies(c, head_dim, {.theta = 5e5, .max_position_embeddings = 8192})) {}
};

// Over each head, with a weight for each head.
struct HeadNorm : Module<HeadNorm> {
  static constexpr const char* kClass = "CohereLayerNorm";
  Value weight;
  double eps;

  HeadNorm(const Scope& s, int64_t num_heads, int64_t head_dim, double epsilon)
      : Module(s), weight(s.parameter("weight", {num_heads, head_dim})), eps(epsilon) {}

  Value forward(const Value& x) const {
    return x.builder().op("layer_norm", {x, weight}, {{"eps", eps}});
  }
};

struct Attention : ProjectedAttention<Attention> {
  static constexpr const char* kClass = "CohereAttention";
  std::optional<HeadNorm> q_norm, k_norm;

  Attention(const Scope& s, const CohereConfig& c, int64_t)
      : ProjectedAttention(s, c, c.attention_bias, c.attention_bias) {
    if (!c.use_qk_norm) return;
    q_norm.emplace(s / "q_norm", c.num_attention_heads, head_dim, c.norm_eps);
    k_norm.emplace(s / "k_norm", c.num_key_value_heads, head_dim, c.norm_eps);
  }

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    Value q = split_heads(q_proj(x), head_dim);
    Value k = split_heads(k_proj(x), head_dim);
    const Value v = split_heads(v_proj(x), head_dim);
    if (q_norm) q = (*q_norm)(q);
    if (k_norm) k = (*k_norm)(k);
    q = apply_rotary_pos_emb(q, positions, RopeStyle::kInterleaved);
    k = apply_rotary_pos_emb(k, positions, RopeStyle::kInterleaved);
    return o_proj(merge_heads(step.attend(q, k, v, {.scale = scaling()})));
  }
};

struct Cohere : DecoderFamily {
  static constexpr const char* kCausalLM = "CohereForCausalLM";
  static constexpr const char* kModel = "CohereModel";
  static constexpr const char* kLayer = "CohereDecoderLayer";
  using Config = CohereConfig;
  using Norm = BiaslessLayerNorm;
  using RotaryEmbedding = InterleavedRotaryEmbedding;
  using Attention = cohere::Attention;
  using MLP = GatedMLP;
  using Layer = ParallelLayer<Cohere>;

  static Value logits(const CohereConfig& c, const Value& x) { return scale(x, c.logit_scale); }
};

using CohereForCausalLM = CausalLM<Cohere>;

}  // namespace lockstep::cohere
