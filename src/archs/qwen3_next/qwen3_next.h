// Qwen3-Next, a hybrid of gated delta rules and gated attention, with experts. Mirrors transformers
// models/qwen3_next/modeling_qwen3_next.py (5.x); member names are the reference's module names, so
// they bind the weights and name the taps.
#pragma once

#include <cmath>
#include <optional>
#include <variant>
#include <vector>

#include "lockstep/lockstep.h"

namespace lockstep::qwen3_next {

// Whether each layer attends, from layer_types; where these are absent, every nth layer does.
inline std::vector<bool> attention_layers(const Config& c, int64_t n_layers) {
  const std::vector<std::string> types =
      c.layer_types(n_layers, {"linear_attention", "full_attention"});
  const int64_t interval = c.size("full_attention_interval", 4);
  std::vector<bool> attends;
  for (int64_t i = 0; i < n_layers; ++i) {
    attends.push_back(types.empty() ? (i + 1) % interval == 0
                                    : types[static_cast<size_t>(i)] == "full_attention");
  }
  return attends;
}

// The keys of Qwen3NextConfig that the computation reads, with Qwen3NextConfig's defaults.
struct Qwen3NextConfig : DecoderConfig {
  int64_t linear_conv_kernel_dim, linear_key_head_dim, linear_value_head_dim;
  int64_t linear_num_key_heads, linear_num_value_heads;
  int64_t moe_intermediate_size, shared_expert_intermediate_size, num_experts;
  SparseLayers sparse;
  std::vector<bool> attends;
  double norm_eps;
  std::string hidden_act;
  Bias attention_bias;
  RoutingRule routing;
  RopeFrequencies rope;

  explicit Qwen3NextConfig(const Config& c)
      : DecoderConfig(c, {.vocab_size = 151936,
                          .hidden_size = 2048,
                          .intermediate_size = 5632,
                          .num_hidden_layers = 48,
                          .num_attention_heads = 16,
                          .num_key_value_heads = 2,
                          .head_dim = 256}),
        linear_conv_kernel_dim(c.size("linear_conv_kernel_dim", 4)),
        linear_key_head_dim(c.size("linear_key_head_dim", 128)),
        linear_value_head_dim(c.size("linear_value_head_dim", 128)),
        linear_num_key_heads(c.size("linear_num_key_heads", 16)),
        linear_num_value_heads(c.size("linear_num_value_heads", 32)),
        moe_intermediate_size(c.size("moe_intermediate_size", 512)),
        shared_expert_intermediate_size(c.size("shared_expert_intermediate_size", 512)),
        num_experts(c.size("num_experts", 512)),
        sparse(c),
        attends(attention_layers(c, num_hidden_layers)),
        norm_eps(c.positive("rms_norm_eps", 1e-6)),
        hidden_act(c.text("hidden_act", "silu")),
        attention_bias(Bias{c.flag("attention_bias", false)}),
        routing{.top_k = c.size("num_experts_per_tok", 10),
                .normalise = c.flag("norm_topk_prob", true)},
        rope(rope_frequencies(c, partial_rotary_dim(c, head_dim, 0.25),
                              {.max_position_embeddings = 32768})) {
    if (linear_num_value_heads % linear_num_key_heads != 0) {
      throw Error(ErrorCode::kInvalidArgument,
                  c.where("linear_num_value_heads") + ": expected a multiple of " +
                      std::to_string(linear_num_key_heads) + ", found " +
                      std::to_string(linear_num_value_heads));
    }
  }
};

// The norm first, then the gate.
struct RMSNormGated : Module<RMSNormGated> {
  static constexpr const char* kClass = "Qwen3NextRMSNormGated";
  Value weight;
  double eps;

  RMSNormGated(const Scope& s, int64_t width, double epsilon)
      : Module(s), weight(s.parameter("weight", {width})), eps(epsilon) {}

  Value forward(const Value& x, const Value& gate) const {
    const Value normed =
        x.builder().op("rms_norm", {x, weight}, {{"eps", eps}, {"rounding", "before_weight"}});
    return to_activation(to_float32(normed) * activation(to_float32(gate), "silu"));
  }
};

struct Attention : Module<Attention> {
  static constexpr const char* kClass = "Qwen3NextAttention";
  int64_t head_dim;
  Linear q_proj, k_proj, v_proj, o_proj;
  UnitOffsetRMSNorm q_norm, k_norm;

  Attention(const Scope& s, const Qwen3NextConfig& c)
      : Module(s),
        head_dim(c.head_dim),
        q_proj(s / "q_proj", c.hidden_size, 2 * c.num_attention_heads * head_dim, c.attention_bias),
        k_proj(s / "k_proj", c.hidden_size, c.num_key_value_heads * head_dim, c.attention_bias),
        v_proj(s / "v_proj", c.hidden_size, c.num_key_value_heads * head_dim, c.attention_bias),
        o_proj(s / "o_proj", c.num_attention_heads * head_dim, c.hidden_size, c.attention_bias),
        q_norm(s / "q_norm", head_dim, c.norm_eps),
        k_norm(s / "k_norm", head_dim, c.norm_eps) {}

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    // Head by head: its query, its gate.
    const Value q_gate = split_heads(q_proj(x), 2 * head_dim);
    const Value gate = merge_heads(slice(q_gate, head_dim, 2 * head_dim));
    Value q = q_norm(slice(q_gate, 0, head_dim));
    Value k = k_norm(split_heads(k_proj(x), head_dim));
    const Value v = split_heads(v_proj(x), head_dim);
    q = apply_rotary_pos_emb(q, positions);
    k = apply_rotary_pos_emb(k, positions);
    const double scaling = 1 / std::sqrt(static_cast<double>(head_dim));
    const Value context = merge_heads(step.attend(q, k, v, {.scale = scaling}));
    return o_proj(context * activation(gate, "sigmoid"));
  }
};

struct GatedDeltaNet : Module<GatedDeltaNet> {
  static constexpr const char* kClass = "Qwen3NextGatedDeltaNet";
  int64_t n_key_heads, n_heads, key_dim, value_dim, conv_dim, conv_kernel_size;
  Activation act;
  CausalConv1d conv1d;
  Linear in_proj_qkvz, in_proj_ba;
  Value dt_bias, A_log;
  RMSNormGated norm;
  Linear out_proj;

  GatedDeltaNet(const Scope& s, const Qwen3NextConfig& c)
      : Module(s),
        n_key_heads(c.linear_num_key_heads),
        n_heads(c.linear_num_value_heads),
        key_dim(c.linear_key_head_dim),
        value_dim(c.linear_value_head_dim),
        conv_dim(2 * n_key_heads * key_dim + n_heads * value_dim),
        conv_kernel_size(c.linear_conv_kernel_dim),
        act(s / "act", c.hidden_act),
        conv1d(s / "conv1d", conv_dim, conv_kernel_size, Bias::kNo),
        in_proj_qkvz(s / "in_proj_qkvz", c.hidden_size, conv_dim + n_heads * value_dim),
        in_proj_ba(s / "in_proj_ba", c.hidden_size, 2 * n_heads),
        dt_bias(s.parameter("dt_bias", {n_heads})),
        A_log(s.parameter("A_log", {n_heads})),
        norm(s / "norm", value_dim, c.norm_eps),
        out_proj(s / "out_proj", n_heads * value_dim, c.hidden_size) {}

  // [T, heads, width] -> [T, 1, heads * width], so that rows can be joined.
  static Value row(const Value& x) {
    const Value flat = merge_heads(x);
    return split_heads(flat, flat.size(-1));
  }

  Value forward(const Step& step, const Value& hidden_states) const {
    const State conv_state = step.conv_state(conv_dim, conv_kernel_size);
    const State ssm_state = step.ssm_state({n_heads, key_dim, value_dim});
    // Key head by key head: its query, its key, the values of its heads, their gates; and b, a.
    const int64_t heads_per_key = n_heads / n_key_heads, values = heads_per_key * value_dim;
    const Value qkvz = split_heads(in_proj_qkvz(hidden_states), 2 * key_dim + 2 * values);
    const Value ba = split_heads(in_proj_ba(hidden_states), 2 * heads_per_key);
    const Value query_key =
        concat(row(slice(qkvz, 0, key_dim)), row(slice(qkvz, key_dim, 2 * key_dim)));
    const Value value = row(slice(qkvz, 2 * key_dim, 2 * key_dim + values));
    const Value z = slice(qkvz, 2 * key_dim + values, 2 * key_dim + 2 * values);
    const Value b = merge_heads(slice(ba, 0, heads_per_key));
    const Value a = merge_heads(slice(ba, heads_per_key, 2 * heads_per_key));

    const Value convolved = conv1d(step, merge_heads(concat(query_key, value)), conv_state);
    step.tap(conv_state);
    const Value mixed_qkv = act(convolved);
    const int64_t q_end = n_key_heads * key_dim, k_end = 2 * q_end;
    const Value core_attn_out =
        step.gated_delta_rule({.q = split_heads(slice(mixed_qkv, 0, q_end), key_dim),
                               .k = split_heads(slice(mixed_qkv, q_end, k_end), key_dim),
                               .v = split_heads(slice(mixed_qkv, k_end, conv_dim), value_dim),
                               .a = a,
                               .beta = activation(b, "sigmoid"),
                               .A_log = A_log,
                               .dt_bias = dt_bias},
                              ssm_state);
    step.tap(ssm_state);
    return out_proj(merge_heads(norm(core_attn_out, split_heads(merge_heads(z), value_dim))));
  }
};

struct FeedForward : EitherBlock<GatedMLP, SharedExpertMoeBlock> {
  FeedForward(const Scope& s, const Qwen3NextConfig& c, int64_t layer_idx)
      : EitherBlock{made(s, c, layer_idx)} {}

 private:
  static std::variant<GatedMLP, SharedExpertMoeBlock> made(const Scope& s, const Qwen3NextConfig& c,
                                                           int64_t layer_idx) {
    if (!c.sparse.contains(layer_idx)) return GatedMLP(s, c);
    return SharedExpertMoeBlock(s, c.num_experts, c.hidden_size, c.moe_intermediate_size,
                                c.shared_expert_intermediate_size, c.hidden_act, c.routing);
  }
};

struct DecoderLayer : Module<DecoderLayer> {
  static constexpr const char* kClass = "Qwen3NextDecoderLayer";
  std::optional<GatedDeltaNet> linear_attn;
  std::optional<Attention> self_attn;
  FeedForward mlp;
  UnitOffsetRMSNorm input_layernorm, post_attention_layernorm;

  DecoderLayer(const Scope& s, const Qwen3NextConfig& c, int64_t layer)
      : Module(s),
        mlp(s / "mlp", c, layer),
        input_layernorm(s / "input_layernorm", c.hidden_size, c.norm_eps),
        post_attention_layernorm(s / "post_attention_layernorm", c.hidden_size, c.norm_eps) {
    if (c.attends[static_cast<size_t>(layer)]) {
      self_attn.emplace(s / "self_attn", c);
    } else {
      linear_attn.emplace(s / "linear_attn", c);
    }
  }

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    const Value normed = input_layernorm(x);
    const Value mixed =
        self_attn ? (*self_attn)(step, normed, positions) : (*linear_attn)(step, normed);
    const Value residual = x + mixed;
    return residual + mlp(post_attention_layernorm(residual));
  }
};

struct Qwen3Next : DecoderFamily {
  static constexpr const char* kCausalLM = "Qwen3NextForCausalLM";
  static constexpr const char* kModel = "Qwen3NextModel";
  using Config = Qwen3NextConfig;
  using Norm = UnitOffsetRMSNorm;
  using Layer = DecoderLayer;
};

struct Qwen3NextForCausalLM : CausalLM<Qwen3Next> {
  Qwen3NextForCausalLM(const Scope& s, const Config& c) : CausalLM(s, c) {
    s.builder().drop("mtp.*", "predicts further tokens: not in forward()");
  }
};

}  // namespace lockstep::qwen3_next
