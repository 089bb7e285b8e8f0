// Qwen3: Llama with a norm on every head of q and k, and windows on upper layers. Mirrors
// transformers models/qwen3/modeling_qwen3.py (5.x); member names are the reference's module names,
// so they bind the weights and name the taps.
#pragma once

#include <vector>

#include "lockstep/lockstep.h"

namespace lockstep::qwen3 {

// The keys of Qwen3Config that the computation reads, with Qwen3Config's defaults.
struct Qwen3Config : DecoderConfig {
  double norm_eps;
  std::string hidden_act;
  Bias attention_bias;
  std::vector<int64_t> windows;
  RopeFrequencies rope;

  explicit Qwen3Config(const Config& c)
      : DecoderConfig(c, {.vocab_size = 151936,
                          .hidden_size = 4096,
                          .intermediate_size = 22016,
                          .num_hidden_layers = 32,
                          .num_attention_heads = 32,
                          .num_key_value_heads = 32,
                          .null_key_value_heads = DecoderDefaults::Null::kAllHeads,
                          .head_dim = 128}),
        norm_eps(c.positive("rms_norm_eps", 1e-6)),
        hidden_act(c.text("hidden_act", "silu")),
        attention_bias(Bias{c.flag("attention_bias", false)}),
        windows(upper_layer_windows(c, num_hidden_layers)),
        rope(rope_frequencies(c, head_dim, {.max_position_embeddings = 32768})) {}
};

struct Attention : HeadNormAttention<Attention, RMSNorm> {
  static constexpr const char* kClass = "Qwen3Attention";

  Attention(const Scope& s, const Qwen3Config& c, int64_t layer_idx)
      : HeadNormAttention(s, c, c.windows[static_cast<size_t>(layer_idx)]) {}
};

struct Qwen3 : DecoderFamily {
  static constexpr const char* kCausalLM = "Qwen3ForCausalLM";
  static constexpr const char* kModel = "Qwen3Model";
  static constexpr const char* kLayer = "Qwen3DecoderLayer";
  using Config = Qwen3Config;
  using Norm = RMSNorm;
  using Attention = qwen3::Attention;
  using MLP = GatedMLP;
  using Layer = PreNormLayer<Qwen3>;
};

using Qwen3ForCausalLM = CausalLM<Qwen3>;

}  // namespace lockstep::qwen3
