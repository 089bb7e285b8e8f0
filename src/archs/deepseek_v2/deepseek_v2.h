// DeepSeek-V2. Mirrors transformers models/deepseek_v2/modeling_deepseek_v2.py (5.x); member names
// are the reference's module names, so they bind the weights and name the taps.
#pragma once

#include <cmath>
#include <optional>

#include "lockstep/lockstep.h"

namespace lockstep::deepseek_v2 {

// How experts are chosen: topk_method. The class has norm_topk_prob, and nothing reads it.
inline RoutingRule routing_of(const Config& c) {
  RoutingRule rule{.top_k = c.size("num_experts_per_tok"),
                   .scaling = c.number("routed_scaling_factor", 1.0)};
  for (const char* key : {"norm_topk_prob", "n_group", "topk_group"}) (void)c.has(key);
  const std::string method = c.text("topk_method", "greedy");
  if (method == "greedy") return rule;
  if (method != "group_limited_greedy") {
    throw Error(
        ErrorCode::kUnimplemented,
        c.where("topk_method") + ": expected greedy or group_limited_greedy, found " + method);
  }
  rule.n_group = c.size("n_group");
  rule.topk_group = c.size("topk_group");
  rule.group_score = "best";
  return rule;
}

// The keys of DeepseekV2Config that the computation reads, with DeepseekV2Config's defaults.
struct DeepseekV2Config {
  int64_t vocab_size, hidden_size, intermediate_size, moe_intermediate_size, num_hidden_layers;
  int64_t n_shared_experts, n_routed_experts, first_k_dense_replace;
  double norm_eps;
  std::string hidden_act;
  Bias mlp_bias;
  bool tie_word_embeddings;
  LatentAttentionConfig attention;
  RoutingRule routing;
  RopeFrequencies rope;

  explicit DeepseekV2Config(const Config& c)
      : vocab_size(c.size("vocab_size", 32000)),
        hidden_size(c.size("hidden_size", 4096)),
        intermediate_size(c.size("intermediate_size", 11008)),
        moe_intermediate_size(c.size("moe_intermediate_size", 1407)),
        num_hidden_layers(c.layers("num_hidden_layers", 32)),
        n_shared_experts(c.size("n_shared_experts", 2)),
        n_routed_experts(c.size("n_routed_experts", 64)),
        first_k_dense_replace(c.size("first_k_dense_replace", 0, 0)),
        norm_eps(c.positive("rms_norm_eps", 1e-6)),
        hidden_act(c.text("hidden_act", "silu")),
        mlp_bias(Bias{c.flag("mlp_bias", false)}),
        tie_word_embeddings(c.flag("tie_word_embeddings", false)),
        attention{.hidden_size = hidden_size,
                  .num_attention_heads = c.size("num_attention_heads", 32),
                  .q_lora_rank = c.is_null("q_lora_rank") ? 0 : c.size("q_lora_rank", 1536),
                  .kv_lora_rank = c.size("kv_lora_rank", 512),
                  .qk_nope_head_dim = c.size("qk_nope_head_dim", 128),
                  .qk_rope_head_dim = c.size("qk_rope_head_dim", 64),
                  .v_head_dim = c.size("v_head_dim", 128),
                  .scaling = 0,
                  .attention_bias = Bias{c.flag("attention_bias", false)},
                  .rope_style = RopeStyle::kInterleaved},
        routing(routing_of(c)),
        rope(rope_frequencies(c, c.derived_size("head_dim", attention.qk_rope_head_dim), 10000.0)) {
    const int64_t qk_head_dim = attention.qk_nope_head_dim + attention.qk_rope_head_dim;
    attention.scaling = yarn_apply_mscale(c, 1 / std::sqrt(static_cast<double>(qk_head_dim)));
    c.derived_size("qk_head_dim", qk_head_dim);
    c.derived_size("num_key_value_heads", attention.num_attention_heads);
  }
};

// A linear layer that the block applies in float32.
struct Gate : Module<Gate> {
  static constexpr const char* kClass = "Linear";
  Value weight;

  Gate(const Scope& s, const DeepseekV2Config& c)
      : Module(s), weight(s.parameter("weight", {c.n_routed_experts, c.hidden_size})) {}

  Value forward(const Value& x) const { return linear(to_float32(x), weight); }
  static std::optional<Value> correction() { return {}; }
};

struct MoE : SharedExpertsMoe<MoE, Gate> {
  static constexpr const char* kClass = "DeepseekV2Moe";

  MoE(const Scope& s, const DeepseekV2Config& c) : SharedExpertsMoe(s, c, c.mlp_bias) {}
};

// The reference's table holds complex numbers, [T, rotary_dim / 2, 2] of their parts.
struct ComplexTable : PositionEmbeddings {
  Value parts;
  std::vector<Value> values() const { return {parts}; }
};

struct DeepseekV2RotaryEmbedding : Module<DeepseekV2RotaryEmbedding> {
  static constexpr const char* kClass = "DeepseekV2RotaryEmbedding";
  RopeFrequencies frequencies;

  DeepseekV2RotaryEmbedding(const Scope& s, RopeFrequencies f)
      : Module(s), frequencies(std::move(f)) {}

  ComplexTable forward(const Value& position_ids) const {
    const PositionEmbeddings tables =
        rotary_tables(position_ids, frequencies, RopeStyle::kInterleaved);
    const auto once = [](const Value& table) { return slice(split_heads(table, 2), 0, 1); };
    return {tables, concat(once(tables.cos), once(tables.sin))};
  }
};

struct DeepseekV2 : DecoderFamily {
  static constexpr const char* kCausalLM = "DeepseekV2ForCausalLM";
  static constexpr const char* kModel = "DeepseekV2Model";
  static constexpr const char* kLayer = "DeepseekV2DecoderLayer";
  using Config = DeepseekV2Config;
  using Norm = RMSNorm;
  using Attention = LatentAttention;
  using MLP = DenseThenSparse<GatedMLP, MoE>;
  using Layer = PreNormLayer<DeepseekV2>;
  using RotaryEmbedding = DeepseekV2RotaryEmbedding;
};

using DeepseekV2ForCausalLM = CausalLM<DeepseekV2>;

}  // namespace lockstep::deepseek_v2
