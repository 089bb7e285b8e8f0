// Mistral: Llama with a window. Mirrors transformers models/mistral/modeling_mistral.py (5.x);
// member names are the reference's module names, so they bind the weights and name the taps.
#pragma once

#include "lockstep/lockstep.h"

namespace lockstep::mistral {

// The keys of MistralConfig that the computation reads, with MistralConfig's defaults.
struct MistralConfig : DecoderConfig {
  double norm_eps;
  std::string hidden_act;
  int64_t sliding_window;
  RopeFrequencies rope;

  explicit MistralConfig(const Config& c)
      : DecoderConfig(c, {.vocab_size = 32000,
                          .hidden_size = 4096,
                          .intermediate_size = 14336,
                          .num_hidden_layers = 32,
                          .num_attention_heads = 32,
                          .num_key_value_heads = 8,
                          .null_key_value_heads = DecoderDefaults::Null::kAllHeads}),
        norm_eps(c.positive("rms_norm_eps", 1e-6)),
        hidden_act(c.text("hidden_act", "silu")),
        // Null is no window.
        sliding_window(c.is_null("sliding_window") ? 0 : c.size("sliding_window", 4096)),
        rope(rope_frequencies(c, head_dim, {.max_position_embeddings = 131072})) {}
};

struct Attention : RotaryAttention<Attention> {
  static constexpr const char* kClass = "MistralAttention";

  Attention(const Scope& s, const MistralConfig& c, int64_t)
      : RotaryAttention(s, c, {.scale = head_scaling(c.head_dim), .window = c.sliding_window}) {}
};

struct Mistral : DecoderFamily {
  static constexpr const char* kCausalLM = "MistralForCausalLM";
  static constexpr const char* kModel = "MistralModel";
  static constexpr const char* kLayer = "MistralDecoderLayer";
  using Config = MistralConfig;
  using Norm = RMSNorm;
  using Attention = mistral::Attention;
  using MLP = GatedMLP;
  using Layer = PreNormLayer<Mistral>;
};

using MistralForCausalLM = CausalLM<Mistral>;

}  // namespace lockstep::mistral
