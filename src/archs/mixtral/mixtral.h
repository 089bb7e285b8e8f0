// Mixtral. Mirrors transformers models/mixtral/modeling_mixtral.py (5.x), whose module paths say
// `mlp` where checkpoints of the older generation say `block_sparse_moe`.
#pragma once

#include "lockstep/lockstep.h"

namespace lockstep::mixtral {

// The keys of MixtralConfig that the computation reads, with MixtralConfig's defaults.
struct MixtralConfig : DecoderConfig {
  int64_t num_local_experts, num_experts_per_tok, sliding_window;
  double norm_eps;
  std::string hidden_act;
  RopeFrequencies rope;

  explicit MixtralConfig(const Config& c)
      : DecoderConfig(c, {.vocab_size = 32000,
                          .hidden_size = 4096,
                          .intermediate_size = 14336,
                          .num_hidden_layers = 32,
                          .num_attention_heads = 32,
                          .num_key_value_heads = 8,
                          .null_key_value_heads = DecoderDefaults::Null::kAllHeads}),
        num_local_experts(c.size("num_local_experts", 8)),
        num_experts_per_tok(c.size("num_experts_per_tok", 2)),
        sliding_window(c.size("sliding_window", 0, 0)),
        norm_eps(c.positive("rms_norm_eps", 1e-5)),
        hidden_act(c.text("hidden_act", "silu")),
        rope(rope_frequencies(c, head_dim, {.theta = 1e6, .max_position_embeddings = 131072})) {}
};

struct Attention : RotaryAttention<Attention> {
  static constexpr const char* kClass = "MixtralAttention";

  Attention(const Scope& s, const MixtralConfig& c)
      : RotaryAttention(s, c, {.scale = head_scaling(c.head_dim), .window = c.sliding_window}) {}
};

struct DecoderLayer : Module<DecoderLayer> {
  static constexpr const char* kClass = "MixtralDecoderLayer";
  Attention self_attn;
  SparseMoeBlock mlp;
  RMSNorm input_layernorm, post_attention_layernorm;

  DecoderLayer(const Scope& s, const MixtralConfig& c, int64_t)
      : Module(s),
        self_attn(s / "self_attn", c),
        mlp(s.at("mlp", "block_sparse_moe"), c.num_local_experts, c.hidden_size,
            c.intermediate_size, c.hidden_act, {.top_k = c.num_experts_per_tok, .normalise = true},
            {.gate = "w1", .up = "w3", .down = "w2"}),
        input_layernorm(s / "input_layernorm", c.hidden_size, c.norm_eps),
        post_attention_layernorm(s / "post_attention_layernorm", c.hidden_size, c.norm_eps) {}

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    const Value attended = x + self_attn(step, input_layernorm(x), positions);
    return attended + mlp(post_attention_layernorm(attended));
  }
};

struct Mixtral : DecoderFamily {
  static constexpr const char* kCausalLM = "MixtralForCausalLM";
  static constexpr const char* kModel = "MixtralModel";
  using Config = MixtralConfig;
  using Norm = RMSNorm;
  using Layer = DecoderLayer;
};

using MixtralForCausalLM = CausalLM<Mixtral>;

}  // namespace lockstep::mixtral
