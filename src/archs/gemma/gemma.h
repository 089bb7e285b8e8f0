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

struct Attention : RotaryAttention<Attention> {
  static constexpr const char* kClass = "GemmaAttention";

  Attention(const Scope& s, const GemmaConfig& c, int64_t)
      : RotaryAttention(s, c, {.scale = head_scaling(c.head_dim)}, c.attention_bias,
                        c.attention_bias) {}
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
