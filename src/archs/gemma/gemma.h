// Gemma: Llama with scaled embeddings and norms whose weight is stored less 1. Mirrors transformers
// models/gemma/modeling_gemma.py (5.x); member names are the reference's module names, so they bind
// the weights and name the taps.
#pragma once

#include "lockstep/lockstep.h"

namespace lockstep::gemma {

// The keys of GemmaConfig that the computation reads, with GemmaConfig's defaults.
struct GemmaConfig : DecoderConfig {
  double norm_eps;
  std::string hidden_act;
  Bias attention_bias;
  RopeFrequencies rope;

  explicit GemmaConfig(const Config& c)
      : DecoderConfig(c, {.vocab_size = 256000,
                          .hidden_size = 3072,
                          .intermediate_size = 24576,
                          .num_hidden_layers = 28,
                          .num_attention_heads = 16,
                          .num_key_value_heads = 16,
                          .head_dim = 256,
                          .tie_word_embeddings = true}),
        norm_eps(c.positive("rms_norm_eps", 1e-6)),
        hidden_act(c.text("hidden_act", "gelu_pytorch_tanh")),
        attention_bias(Bias{c.flag("attention_bias", false)}),
        rope(rope_frequencies(c, head_dim, {.max_position_embeddings = 8192})) {
    expect_causal(c);
  }
};

struct Attention : ProjectedAttention<Attention> {
  static constexpr const char* kClass = "GemmaAttention";

  Attention(const Scope& s, const GemmaConfig& c, int64_t)
      : ProjectedAttention(s, c, c.attention_bias, c.attention_bias) {}

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    Value q = split_heads(q_proj(x), head_dim);
    Value k = split_heads(k_proj(x), head_dim);
    const Value v = split_heads(v_proj(x), head_dim);
    q = apply_rotary_pos_emb(q, positions);
    k = apply_rotary_pos_emb(k, positions);
    return o_proj(merge_heads(step.attend(q, k, v, {.scale = scaling()})));
  }
};

struct Gemma : DecoderFamily {
  static constexpr const char* kCausalLM = "GemmaForCausalLM";
  static constexpr const char* kModel = "GemmaModel";
  static constexpr const char* kLayer = "GemmaDecoderLayer";
  using Config = GemmaConfig;
  using Norm = UnitOffsetRMSNorm;
  using Attention = gemma::Attention;
  using MLP = GatedMLP;
  using Layer = PreNormLayer<Gemma>;
  using Embedding = ScaledEmbedding;
};

using GemmaForCausalLM = CausalLM<Gemma>;

}  // namespace lockstep::gemma
