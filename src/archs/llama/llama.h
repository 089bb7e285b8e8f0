// Llama. Mirrors transformers models/llama/modeling_llama.py (5.x); member names are the
// reference's module names, so they bind the weights and name the taps.
#pragma once

#include "lockstep/lockstep.h"

namespace lockstep::llama {

// The keys of LlamaConfig that the computation reads, with LlamaConfig's defaults.
struct LlamaConfig : DecoderConfig {
  double norm_eps;
  std::string hidden_act;
  Bias attention_bias, mlp_bias;
  RopeFrequencies rope;

  explicit LlamaConfig(const Config& c)
      : DecoderConfig(c, {.vocab_size = 32000,
                          .hidden_size = 4096,
                          .intermediate_size = 11008,
                          .num_hidden_layers = 32,
                          .num_attention_heads = 32}),
        norm_eps(c.positive("rms_norm_eps", 1e-6)),
        hidden_act(c.text("hidden_act", "silu")),
        attention_bias(Bias{c.flag("attention_bias", false)}),
        mlp_bias(Bias{c.flag("mlp_bias", false)}),
        rope(rope_frequencies(c, head_dim, {.max_position_embeddings = 2048})) {}
};

struct Attention : ProjectedAttention<Attention> {
  static constexpr const char* kClass = "LlamaAttention";

  Attention(const Scope& s, const LlamaConfig& c, int64_t)
      : ProjectedAttention(s, c, c.attention_bias, c.attention_bias) {}

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    Value q = split_heads(q_proj(x), head_dim);
    Value k = split_heads(k_proj(x), head_dim);
    const Value v = split_heads(v_proj(x), head_dim);
    q = apply_rotary_pos_emb(q, positions);
    k = apply_rotary_pos_emb(k, positions);
    return o_proj(merge_heads(step.attend(q, k, v, {.scale = scaling()})));
  }
};

struct Llama : DecoderFamily {
  static constexpr const char* kCausalLM = "LlamaForCausalLM";
  static constexpr const char* kModel = "LlamaModel";
  static constexpr const char* kLayer = "LlamaDecoderLayer";
  using Config = LlamaConfig;
  using Norm = RMSNorm;
  using Attention = llama::Attention;
  using MLP = GatedMLP;
  using Layer = PreNormLayer<Llama>;
};

using LlamaForCausalLM = CausalLM<Llama>;

}  // namespace lockstep::llama
