// GPT-OSS: sinks, layers in turn local and full, experts with biases and a clamped gate. Mirrors
// transformers models/gpt_oss/modeling_gpt_oss.py (5.x); member names are the reference's module
// names, so they bind the weights and name the taps.
#pragma once

#include <vector>

#include "lockstep/lockstep.h"

namespace lockstep::gpt_oss {

inline RopeFrequencies rope_of(const Config& c, int64_t head_dim) {
  constexpr double kTheta = 150000;
  if (c.has("rope_parameters")) {
    return rope_frequencies(c, head_dim, {.theta = kTheta, .max_position_embeddings = 131072});
  }
  const YarnRule rule{.factor = 32, .original_length = 4096, .truncate = false};
  return yarn_frequencies(c.builder(), rule, kTheta, head_dim);
}

inline void expect_plain_weights(const Config& c) {
  if (!c.has("quantization_config")) return;
  const Config quantization = c.at("quantization_config");
  throw Error(ErrorCode::kUnimplemented,
              quantization.where("quant_method") + ": expected weights as they are, found " +
                  quantization.text("quant_method", "another scheme"),
              "this build has no kernel for it; use a checkpoint with bfloat16 experts");
}

// The keys of GptOssConfig that the computation reads, with GptOssConfig's defaults.
struct GptOssConfig : DecoderConfig {
  int64_t num_local_experts, num_experts_per_tok;
  double norm_eps;
  Bias attention_bias;
  std::vector<int64_t> windows;
  RopeFrequencies rope;

  explicit GptOssConfig(const Config& c)
      : DecoderConfig(c, {.vocab_size = 201088,
                          .hidden_size = 2880,
                          .intermediate_size = 2880,
                          .num_hidden_layers = 36,
                          .num_attention_heads = 64,
                          .num_key_value_heads = 8,
                          .null_key_value_heads = DecoderDefaults::Null::kAllHeads,
                          .head_dim = 64}),
        num_local_experts(c.size("num_local_experts", 128)),
        num_experts_per_tok(c.size("num_experts_per_tok", 4)),
        norm_eps(c.positive("rms_norm_eps", 1e-5)),
        attention_bias(Bias{c.flag("attention_bias", true)}),
        windows(layer_windows(c, num_hidden_layers,
                              c.is_null("sliding_window") ? 0 : c.size("sliding_window", 128),
                              [](int64_t i) { return i % 2 == 0; })),
        rope(rope_of(c, head_dim)) {
    // The class has the key, and its experts a gate of their own.
    (void)c.text("hidden_act", "silu");
    expect_plain_weights(c);
  }
};

// The reference's tables have each angle once; `both` is made of them for apply_rotary_pos_emb.
struct HalfTables {
  Value cos, sin;
  PositionEmbeddings both;
  std::vector<Value> values() const { return {cos, sin}; }
};

struct GptOssRotaryEmbedding : Module<GptOssRotaryEmbedding> {
  static constexpr const char* kClass = "GptOssRotaryEmbedding";
  RopeFrequencies rope;

  GptOssRotaryEmbedding(const Scope& s, RopeFrequencies r) : Module(s), rope(std::move(r)) {}

  HalfTables forward(const Value& position_ids) const {
    const PositionEmbeddings tables = rotary_tables(position_ids, rope);
    const int64_t n = tables.cos.size(-1) / 2;
    const Value cos = slice(tables.cos, 0, n);
    const Value sin = slice(tables.sin, 0, n);
    return {cos, sin, {twice(cos), twice(sin)}};
  }

  static Value twice(const Value& table) {
    const Value heads = split_heads(table, table.size(-1));
    return merge_heads(concat(heads, heads));
  }
};

struct Attention : ProjectedAttention<Attention> {
  static constexpr const char* kClass = "GptOssAttention";
  int64_t sliding_window;
  Value sinks;

  Attention(const Scope& s, const GptOssConfig& c, int64_t layer_idx)
      : ProjectedAttention(s, c, c.attention_bias, c.attention_bias),
        sliding_window(c.windows[static_cast<size_t>(layer_idx)]),
        sinks(s.parameter("sinks", {c.num_attention_heads})) {}

  Value forward(const Step& step, const Value& x, const HalfTables& tables) const {
    Value q = split_heads(q_proj(x), head_dim);
    Value k = split_heads(k_proj(x), head_dim);
    const Value v = split_heads(v_proj(x), head_dim);
    q = apply_rotary_pos_emb(q, tables.both);
    k = apply_rotary_pos_emb(k, tables.both);
    const Value context =
        step.attend(q, k, v, {.scale = scaling(), .window = sliding_window, .sinks = sinks});
    return o_proj(merge_heads(context));
  }
};

struct GptOssTopKRouter : Module<GptOssTopKRouter> {
  static constexpr const char* kClass = "GptOssTopKRouter";
  RoutingRule rule;
  Value weight, bias;

  GptOssTopKRouter(const Scope& s, const GptOssConfig& c)
      : Module(s),
        rule{.top_k = c.num_experts_per_tok, .order = "topk_first"},
        weight(s.parameter("weight", {c.num_local_experts, c.hidden_size})),
        bias(s.parameter("bias", {c.num_local_experts})) {}

  Routing forward(const Value& x) const {
    return route(x.builder().op("linear", {x, weight, bias}), rule);
  }
};

// Stored [E, in, out], with gate and up in turn.
struct GptOssExperts : Module<GptOssExperts> {
  static constexpr const char* kClass = "GptOssExperts";
  static constexpr double kLimit = 7;
  Value gate_up_proj, gate_up_proj_bias, down_proj, down_proj_bias;

  GptOssExperts(const Scope& s, const GptOssConfig& c)
      : Module(s),
        gate_up_proj(turned(s, "gate_up_proj",
                            {c.num_local_experts, 2 * c.intermediate_size, c.hidden_size})),
        gate_up_proj_bias(
            s.parameter("gate_up_proj_bias", {c.num_local_experts, 2 * c.intermediate_size})),
        down_proj(
            turned(s, "down_proj", {c.num_local_experts, c.hidden_size, c.intermediate_size})),
        down_proj_bias(s.parameter("down_proj_bias", {c.num_local_experts, c.hidden_size})) {}

  static Value turned(const Scope& s, const char* name, std::initializer_list<int64_t> shape) {
    const std::string path = (s / name).path();
    return s.builder().parameter_of(path, shape, {{path, 0, 0, Part::Order::kTransposed}});
  }

  // quick_gelu is gate * sigmoid(1.702 gate).
  Value forward(const Value& x, const Value& ids, const Value& weights) const {
    return x.builder().op(
        "experts", {x, ids, weights, gate_up_proj, down_proj, gate_up_proj_bias, down_proj_bias},
        {{"fn", "quick_gelu"}, {"order", "interleaved"}, {"limit", kLimit}, {"up_offset", 1.0}});
  }
};

struct GptOssMLP : Module<GptOssMLP> {
  static constexpr const char* kClass = "GptOssMLP";
  GptOssTopKRouter router;
  GptOssExperts experts;

  GptOssMLP(const Scope& s, const GptOssConfig& c)
      : Module(s), router(s / "router", c), experts(s / "experts", c) {}

  Value forward(const Value& x) const {
    const Routing routing = router(x);
    tap_routing(routing);
    return experts(x, routing.ids, routing.weights);
  }
};

struct GptOss : DecoderFamily {
  static constexpr const char* kCausalLM = "GptOssForCausalLM";
  static constexpr const char* kModel = "GptOssModel";
  static constexpr const char* kLayer = "GptOssDecoderLayer";
  using Config = GptOssConfig;
  using Norm = Float32RMSNorm;
  using RotaryEmbedding = GptOssRotaryEmbedding;
  using Attention = gpt_oss::Attention;
  using MLP = GptOssMLP;
  using Layer = PreNormLayer<GptOss>;
};

using GptOssForCausalLM = CausalLM<GptOss>;

}  // namespace lockstep::gpt_oss
