// EXAONE 4: norms after the blocks, a norm on every head, layers that rotate and see a window
// beside layers that do neither. Mirrors transformers models/exaone4/modeling_exaone4.py (5.x);
// member names are the reference's module names, so they bind the weights and name the taps.
#pragma once

#include <vector>

#include "lockstep/lockstep.h"

namespace lockstep::exaone4 {

// The keys of Exaone4Config that the computation reads, with Exaone4Config's defaults.
struct Exaone4Config : DecoderConfig {
  double norm_eps;
  std::string hidden_act;
  int64_t sliding_window;  // 0: none
  std::vector<int64_t> windows;
  RopeFrequencies rope;

  explicit Exaone4Config(const Config& c)
      : DecoderConfig(c, {.vocab_size = 102400,
                          .hidden_size = 4096,
                          .intermediate_size = 16384,
                          .num_hidden_layers = 32,
                          .num_attention_heads = 32,
                          .num_key_value_heads = 32}),
        norm_eps(c.positive("rms_norm_eps", 1e-5)),
        hidden_act(c.text("hidden_act", "silu")),
        sliding_window(c.is_null("sliding_window") ? 0 : c.size("sliding_window", 4096)),
        windows(windows_of(c)),
        rope(rope_frequencies(c, head_dim, {.max_position_embeddings = 2048})) {}

  // A pattern may be a word, "LLLG", beside layer_types that say the same.
  std::vector<int64_t> windows_of(const Config& c) const {
    const bool has_types = c.has("layer_types") || sliding_window == 0;
    const int64_t pattern = has_types ? 1 : c.size("sliding_window_pattern", 4);
    return layer_windows(c, num_hidden_layers, sliding_window,
                         [&](int64_t i) { return (i + 1) % pattern != 0; });
  }
};

struct Attention : ProjectedAttention<Attention> {
  static constexpr const char* kClass = "Exaone4Attention";
  int64_t sliding_window;
  bool rotates;
  RMSNorm q_norm, k_norm;

  Attention(const Scope& s, const Exaone4Config& c, int64_t layer_idx)
      : ProjectedAttention(s, c),
        sliding_window(c.windows[static_cast<size_t>(layer_idx)]),
        rotates(c.sliding_window == 0 || sliding_window != 0),
        q_norm(s / "q_norm", head_dim, c.norm_eps),
        k_norm(s / "k_norm", head_dim, c.norm_eps) {}

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    Value q = q_norm(split_heads(q_proj(x), head_dim));
    Value k = k_norm(split_heads(k_proj(x), head_dim));
    const Value v = split_heads(v_proj(x), head_dim);
    if (rotates) {
      q = apply_rotary_pos_emb(q, positions);
      k = apply_rotary_pos_emb(k, positions);
    }
    return o_proj(
        merge_heads(step.attend(q, k, v, {.scale = scaling(), .window = sliding_window})));
  }
};

struct Exaone4 : DecoderFamily {
  static constexpr const char* kCausalLM = "Exaone4ForCausalLM";
  static constexpr const char* kModel = "Exaone4Model";
  static constexpr const char* kLayer = "Exaone4DecoderLayer";
  using Config = Exaone4Config;
  using Norm = RMSNorm;
  using Attention = exaone4::Attention;
  using MLP = GatedMLP;
  using Layer = PostNormLayer<Exaone4>;
};

using Exaone4ForCausalLM = CausalLM<Exaone4>;

}  // namespace lockstep::exaone4
