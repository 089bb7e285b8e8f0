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

struct Attention : ProjectedAttention<Attention> {
  static constexpr const char* kClass = "Olmo2Attention";
  Float32RMSNorm q_norm, k_norm;

  Attention(const Scope& s, const Olmo2Config& c, int64_t)
      : ProjectedAttention(s, c, c.attention_bias, c.attention_bias),
        q_norm(s / "q_norm", c.num_attention_heads * head_dim, c.norm_eps),
        k_norm(s / "k_norm", c.num_key_value_heads * head_dim, c.norm_eps) {}

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    Value q = split_heads(q_norm(q_proj(x)), head_dim);
    Value k = split_heads(k_norm(k_proj(x)), head_dim);
    const Value v = split_heads(v_proj(x), head_dim);
    q = apply_rotary_pos_emb(q, positions);
    k = apply_rotary_pos_emb(k, positions);
    return o_proj(merge_heads(step.attend(q, k, v, {.scale = scaling()})));
  }
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
