// Cohere 2: Cohere with layers that rotate and see a window beside layers that do neither. Mirrors
// transformers models/cohere2/modeling_cohere2.py (5.x); member names are the reference's module
// names, so they bind the weights and name the taps.
#pragma once

#include <vector>

#include "lockstep/lockstep.h"

namespace lockstep::cohere2 {

// The keys of Cohere2Config that the computation reads, with Cohere2Config's defaults.
struct Cohere2Config : DecoderConfig {
  double norm_eps, logit_scale;
  std::string hidden_act;
  Bias attention_bias;
  std::vector<int64_t> windows;
  RopeFrequencies rope;

  explicit Cohere2Config(const Config& c)
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
        windows(windows_of(c)),
        rope(rope_frequencies(c, head_dim, {.max_position_embeddings = 8192})) {}

  std::vector<int64_t> windows_of(const Config& c) const {
    const int64_t window = c.is_null("sliding_window") ? 0 : c.size("sliding_window", 4096);
    const int64_t pattern = c.size("sliding_window_pattern", 4);
    return layer_windows(c, num_hidden_layers, window,
                         [&](int64_t i) { return (i + 1) % pattern != 0; });
  }
};

struct Attention : ProjectedAttention<Attention> {
  static constexpr const char* kClass = "Cohere2Attention";
  int64_t sliding_window;

  Attention(const Scope& s, const Cohere2Config& c, int64_t layer_idx)
      : ProjectedAttention(s, c, c.attention_bias, c.attention_bias),
        sliding_window(c.windows[static_cast<size_t>(layer_idx)]) {}

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    Value q = split_heads(q_proj(x), head_dim);
    Value k = split_heads(k_proj(x), head_dim);
    const Value v = split_heads(v_proj(x), head_dim);
    if (sliding_window != 0) {
      q = apply_rotary_pos_emb(q, positions, RopeStyle::kInterleaved);
      k = apply_rotary_pos_emb(k, positions, RopeStyle::kInterleaved);
    }
    return o_proj(
        merge_heads(step.attend(q, k, v, {.scale = scaling(), .window = sliding_window})));
  }
};

struct Cohere2 : DecoderFamily {
  static constexpr const char* kCausalLM = "Cohere2ForCausalLM";
  static constexpr const char* kModel = "Cohere2Model";
  static constexpr const char* kLayer = "Cohere2DecoderLayer";
  using Config = Cohere2Config;
  using Norm = BiaslessLayerNorm;
  using RotaryEmbedding = InterleavedRotaryEmbedding;
  using Attention = cohere2::Attention;
  using MLP = GatedMLP;
  using Layer = ParallelLayer<Cohere2>;

  static Value logits(const Cohere2Config& c, const Value& x) { return scale(x, c.logit_scale); }
};

using Cohere2ForCausalLM = CausalLM<Cohere2>;

}  // namespace lockstep::cohere2
