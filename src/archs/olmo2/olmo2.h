// OLMo 2: norms after the blocks, and over the whole width of q and k. Mirrors transformers
// models/olmo2/modeling_olmo2.py (5.x); member names are the reference's module names, so they bind
// the weights and name the taps.
#pragma once

#include "lockstep/lockstep.h"

namespace lockstep::olmo2 {

// The keys of Olmo2Config that the computation reads, with Olmo2Config's defaults.
struct Olmo2Config : DecoderConfig {
  double norm_eps;
  std::string hidden_act;
  Bias attention_bias;
  RopeFrequencies rope;

  explicit Olmo2Config(const Config& c)
      : DecoderConfig(c, {.vocab_size = 50304,
                          .hidden_size = 4096,
                          .intermediate_size = 11008,
                          .num_hidden_layers = 32,
                          .num_attention_heads = 32}),
        norm_eps(c.positive("rms_norm_eps", 1e-5)),
        hidden_act(c.text("hidden_act", "silu")),
        attention_bias(Bias{c.flag("attention_bias", false)}),
        rope(rope_frequencies(c, head_dim, {.max_position_embeddings = 2048})) {}
};

struct Attention : WideNormAttention<Attention, Float32RMSNorm> {
  static constexpr const char* kClass = "Olmo2Attention";
  using WideNormAttention::WideNormAttention;
};

struct Olmo2 : DecoderFamily {
  static constexpr const char* kCausalLM = "Olmo2ForCausalLM";
  static constexpr const char* kModel = "Olmo2Model";
  static constexpr const char* kLayer = "Olmo2DecoderLayer";
  using Config = Olmo2Config;
  using Norm = Float32RMSNorm;
  using Attention = olmo2::Attention;
  using MLP = GatedMLP;
  using Layer = PostNormLayer<Olmo2>;
};

using Olmo2ForCausalLM = CausalLM<Olmo2>;

}  // namespace lockstep::olmo2
