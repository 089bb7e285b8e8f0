// Qwen2: Llama with biases on q, k and v, and windows on upper layers. Mirrors transformers
// models/qwen2/modeling_qwen2.py (5.x); member names are the reference's module names, so they bind
// the weights and name the taps.
#pragma once

#include <vector>

#include "lockstep/lockstep.h"

namespace lockstep::qwen2 {

// The keys of Qwen2Config that the computation reads, with Qwen2Config's defaults.
struct Qwen2Config : DecoderConfig {
  double norm_eps;
  std::string hidden_act;
  std::vector<int64_t> windows;
  RopeFrequencies rope;

  explicit Qwen2Config(const Config& c)
      : DecoderConfig(c, {.vocab_size = 151936,
                          .hidden_size = 4096,
                          .intermediate_size = 22016,
                          .num_hidden_layers = 32,
                          .num_attention_heads = 32,
                          .num_key_value_heads = 32,
                          .null_key_value_heads = DecoderDefaults::Null::kAllHeads}),
        norm_eps(c.positive("rms_norm_eps", 1e-6)),
        hidden_act(c.text("hidden_act", "silu")),
        windows(upper_layer_windows(c, num_hidden_layers)),
        rope(rope_frequencies(c, head_dim, {.max_position_embeddings = 32768})) {}
};

struct Attention : RotaryAttention<Attention> {
  static constexpr const char* kClass = "Qwen2Attention";

  Attention(const Scope& s, const Qwen2Config& c, int64_t layer_idx)
      : RotaryAttention(s, c,
                        {.scale = head_scaling(c.head_dim),
                         .window = c.windows[static_cast<size_t>(layer_idx)]},
                        Bias::kYes) {}
};

struct Qwen2 : DecoderFamily {
  static constexpr const char* kCausalLM = "Qwen2ForCausalLM";
  static constexpr const char* kModel = "Qwen2Model";
  static constexpr const char* kLayer = "Qwen2DecoderLayer";
  using Config = Qwen2Config;
  using Norm = RMSNorm;
  using Attention = qwen2::Attention;
  using MLP = GatedMLP;
  using Layer = PreNormLayer<Qwen2>;
};

using Qwen2ForCausalLM = CausalLM<Qwen2>;

}  // namespace lockstep::qwen2
