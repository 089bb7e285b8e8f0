// SmolLM3: Llama with layers that do not rotate. Mirrors transformers
// models/smollm3/modeling_smollm3.py (5.x); member names are the reference's module names, so they
// bind the weights and name the taps.
#pragma once

#include <vector>

#include "lockstep/lockstep.h"

namespace lockstep::smollm3 {

// Whether each layer rotates q and k: no_rope_layers says 1 where it does.
inline std::vector<bool> layers_with_rope(const Config& c, int64_t n_layers) {
  const std::vector<int64_t> listed = c.integers("no_rope_layers");
  const int64_t interval = c.size("no_rope_layer_interval", 4);
  if (!listed.empty() && static_cast<int64_t>(listed.size()) != n_layers) {
    throw Error(ErrorCode::kInvalidArgument,
                c.where("no_rope_layers") + ": expected num_hidden_layers " +
                    std::to_string(n_layers) + " entries, found " + std::to_string(listed.size()));
  }
  std::vector<bool> with_rope;
  for (int64_t i = 0; i < n_layers; ++i) {
    with_rope.push_back(listed.empty() ? (i + 1) % interval != 0
                                       : listed[static_cast<size_t>(i)] != 0);
  }
  return with_rope;
}

// The keys of SmolLM3Config that the computation reads, with SmolLM3Config's defaults.
struct SmolLM3Config : DecoderConfig {
  double norm_eps;
  std::string hidden_act;
  Bias attention_bias, mlp_bias;
  std::vector<bool> use_rope;
  std::vector<int64_t> windows;
  RopeFrequencies rope;

  explicit SmolLM3Config(const Config& c)
      : DecoderConfig(c, {.vocab_size = 128256,
                          .hidden_size = 2048,
                          .intermediate_size = 11008,
                          .num_hidden_layers = 36,
                          .num_attention_heads = 16,
                          .num_key_value_heads = 4,
                          .null_key_value_heads = DecoderDefaults::Null::kAllHeads,
                          .tie_word_embeddings = true}),
        norm_eps(c.positive("rms_norm_eps", 1e-6)),
        hidden_act(c.text("hidden_act", "silu")),
        attention_bias(Bias{c.flag("attention_bias", false)}),
        mlp_bias(Bias{c.flag("mlp_bias", false)}),
        use_rope(layers_with_rope(c, num_hidden_layers)),
        windows(windows_of(c)),
        rope(rope_frequencies(c, head_dim, {.theta = 2e6, .max_position_embeddings = 32768})) {}

  std::vector<int64_t> windows_of(const Config& c) const {
    const int64_t window = c.size("sliding_window", 0, 0);
    const bool slides = c.flag("use_sliding_window", false) && window != 0;
    return layer_windows(c, num_hidden_layers, window,
                         [&](int64_t i) { return slides && !use_rope[static_cast<size_t>(i)]; });
  }
};

struct Attention : ProjectedAttention<Attention> {
  static constexpr const char* kClass = "SmolLM3Attention";
  bool use_rope;
  int64_t sliding_window;

  Attention(const Scope& s, const SmolLM3Config& c, int64_t layer_idx)
      : ProjectedAttention(s, c, c.attention_bias, c.attention_bias),
        use_rope(c.use_rope[static_cast<size_t>(layer_idx)]),
        sliding_window(c.windows[static_cast<size_t>(layer_idx)]) {}

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    Value q = split_heads(q_proj(x), head_dim);
    Value k = split_heads(k_proj(x), head_dim);
    const Value v = split_heads(v_proj(x), head_dim);
    if (use_rope) {
      q = apply_rotary_pos_emb(q, positions);
      k = apply_rotary_pos_emb(k, positions);
    }
    return o_proj(
        merge_heads(step.attend(q, k, v, {.scale = scaling(), .window = sliding_window})));
  }
};

struct SmolLM3 : DecoderFamily {
  static constexpr const char* kCausalLM = "SmolLM3ForCausalLM";
  static constexpr const char* kModel = "SmolLM3Model";
  static constexpr const char* kLayer = "SmolLM3DecoderLayer";
  using Config = SmolLM3Config;
  using Norm = RMSNorm;
  using Attention = smollm3::Attention;
  using MLP = GatedMLP;
  using Layer = PreNormLayer<SmolLM3>;
};

using SmolLM3ForCausalLM = CausalLM<SmolLM3>;

}  // namespace lockstep::smollm3
