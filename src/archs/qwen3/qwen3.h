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

struct Attention : ProjectedAttention<Attention> {
  static constexpr const char* kClass = "Qwen3Attention";
  int64_t sliding_window;
  RMSNorm q_norm, k_norm;

  Attention(const Scope& s, const Qwen3Config& c, int64_t layer_idx)
      : ProjectedAttention(s, c, c.attention_bias, c.attention_bias),
        sliding_window(c.windows[static_cast<size_t>(layer_idx)]),
        q_norm(s / "q_norm", head_dim, c.norm_eps),
        k_norm(s / "k_norm", head_dim, c.norm_eps) {}

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    Value q = q_norm(split_heads(q_proj(x), head_dim));
    Value k = k_norm(split_heads(k_proj(x), head_dim));
    const Value v = split_heads(v_proj(x), head_dim);
    q = apply_rotary_pos_emb(q, positions);
    k = apply_rotary_pos_emb(k, positions);
    return o_proj(
        merge_heads(step.attend(q, k, v, {.scale = scaling(), .window = sliding_window})));
  }
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
