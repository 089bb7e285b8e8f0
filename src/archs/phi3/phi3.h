// Phi-3: Llama with fused projections, partial rotation and longrope. Mirrors transformers
// models/phi3/modeling_phi3.py (5.x); member names are the reference's module names, so they bind
// the weights and name the taps.
#pragma once

#include "lockstep/lockstep.h"

namespace lockstep::phi3 {

// The class takes these two kinds alone ("su" is an older name of longrope).
inline RopeFrequencies rope_of(const Config& c, int64_t head_dim) {
  const Config rope = c.at("rope_parameters");
  const std::string type = rope.text("rope_type", "default");
  if (type != "default" && type != "longrope") {
    throw Error(ErrorCode::kInvalidArgument,
                rope.where("rope_type") + ": expected default or longrope, found " + type);
  }
  return rope_frequencies(c, partial_rotary_dim(c, head_dim), {.max_position_embeddings = 4096});
}

// The keys of Phi3Config that the computation reads, with Phi3Config's defaults.
struct Phi3Config : DecoderConfig {
  double norm_eps;
  std::string hidden_act;
  int64_t sliding_window;
  RopeFrequencies rope;

  explicit Phi3Config(const Config& c)
      : DecoderConfig(c, {.vocab_size = 32064,
                          .hidden_size = 3072,
                          .intermediate_size = 8192,
                          .num_hidden_layers = 32,
                          .num_attention_heads = 32}),
        norm_eps(c.positive("rms_norm_eps", 1e-5)),
        hidden_act(c.text("hidden_act", "silu")),
        sliding_window(c.size("sliding_window", 0, 0)),
        rope(rope_of(c, head_dim)) {}
};

struct Attention : Module<Attention> {
  static constexpr const char* kClass = "Phi3Attention";
  int64_t head_dim, q_width, kv_width, sliding_window;
  Linear qkv_proj, o_proj;

  Attention(const Scope& s, const Phi3Config& c, int64_t)
      : Module(s),
        head_dim(c.head_dim),
        q_width(c.num_attention_heads * head_dim),
        kv_width(c.num_key_value_heads * head_dim),
        sliding_window(c.sliding_window),
        qkv_proj(s / "qkv_proj", c.hidden_size, q_width + 2 * kv_width),
        o_proj(s / "o_proj", q_width, c.hidden_size) {}

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    const Value qkv = qkv_proj(x);
    Value q = split_heads(slice(qkv, 0, q_width), head_dim);
    Value k = split_heads(slice(qkv, q_width, q_width + kv_width), head_dim);
    const Value v = split_heads(slice(qkv, q_width + kv_width, q_width + 2 * kv_width), head_dim);
    q = apply_rotary_pos_emb(q, positions);
    k = apply_rotary_pos_emb(k, positions);
    const double scaling = 1 / std::sqrt(static_cast<double>(head_dim));
    return o_proj(merge_heads(step.attend(q, k, v, {.scale = scaling, .window = sliding_window})));
  }
};

struct DecoderLayer : Module<DecoderLayer> {
  static constexpr const char* kClass = "Phi3DecoderLayer";
  Attention self_attn;
  FusedGatedMLP mlp;
  RMSNorm input_layernorm, post_attention_layernorm;
  Dropout resid_attn_dropout, resid_mlp_dropout;

  DecoderLayer(const Scope& s, const Phi3Config& c, int64_t layer_idx)
      : Module(s),
        self_attn(s / "self_attn", c, layer_idx),
        mlp(s / "mlp", c),
        input_layernorm(s / "input_layernorm", c.hidden_size, c.norm_eps),
        post_attention_layernorm(s / "post_attention_layernorm", c.hidden_size, c.norm_eps),
        resid_attn_dropout(s / "resid_attn_dropout"),
        resid_mlp_dropout(s / "resid_mlp_dropout") {}

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    const Value context = self_attn(step, input_layernorm(x), positions);
    const Value attended = x + resid_attn_dropout(context);
    const Value fed = mlp(post_attention_layernorm(attended));
    return attended + resid_mlp_dropout(fed);
  }
};

struct Phi3 : DecoderFamily {
  static constexpr const char* kCausalLM = "Phi3ForCausalLM";
  static constexpr const char* kModel = "Phi3Model";
  using Config = Phi3Config;
  using Norm = RMSNorm;
  using Layer = DecoderLayer;
};

using Phi3ForCausalLM = CausalLM<Phi3>;

}  // namespace lockstep::phi3
