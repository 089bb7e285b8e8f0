// Granite 3 with experts. Mirrors transformers models/granitemoe/modeling_granitemoe.py (5.x);
// member names are the reference's module names, so they bind the weights and name the taps.
#pragma once

#include <initializer_list>

#include "lockstep/lockstep.h"

namespace lockstep::granitemoe {

// The keys of GraniteMoeConfig that the computation reads, with GraniteMoeConfig's defaults.
struct GraniteMoeConfig : DecoderConfig {
  int64_t num_local_experts, num_experts_per_tok;
  double norm_eps;
  double embedding_multiplier, logits_scaling, residual_multiplier, attention_multiplier;
  std::string hidden_act;
  Bias attention_bias;
  RopeFrequencies rope;

  explicit GraniteMoeConfig(const Config& c)
      : DecoderConfig(c, {.vocab_size = 32000,
                          .hidden_size = 4096,
                          .intermediate_size = 11008,
                          .num_hidden_layers = 32,
                          .num_attention_heads = 32}),
        num_local_experts(c.size("num_local_experts", 8)),
        num_experts_per_tok(c.size("num_experts_per_tok", 2)),
        norm_eps(c.positive("rms_norm_eps", 1e-6)),
        embedding_multiplier(c.number("embedding_multiplier", 1.0)),
        logits_scaling(c.positive("logits_scaling", 1.0)),
        residual_multiplier(c.number("residual_multiplier", 1.0)),
        attention_multiplier(c.number("attention_multiplier", 1.0)),
        hidden_act(c.text("hidden_act", "silu")),
        attention_bias(Bias{c.flag("attention_bias", false)}),
        rope(rope_frequencies(c, head_dim, {.max_position_embeddings = 2048})) {}
};

struct Attention : RotaryAttention<Attention> {
  static constexpr const char* kClass = "GraniteMoeAttention";

  Attention(const Scope& s, const GraniteMoeConfig& c)
      : RotaryAttention(s, c, {.scale = c.attention_multiplier}, c.attention_bias,
                        c.attention_bias) {}
};

// A weight that transformers 4 stores below a linear layer of its own, stacked all the same.
inline Value stacked(const Scope& s, const char* name, const char* older,
                     std::initializer_list<int64_t> shape) {
  const Scope path = s / "experts" / name, stored = s / older / "weight";
  if (s.builder().parameter_exists(path.path())) {
    return s.builder().parameter(path.path(), shape);
  }
  return s.builder().parameter_of(path.path(), shape, {{stored.path()}});
}

// What the router gives, in its order; weights are of the type between modules.
struct Choice {
  Value ids, weights, logits;
  std::vector<Value> values() const { return {ids, weights, logits}; }
};

struct TopKGating : Module<TopKGating> {
  static constexpr const char* kClass = "GraniteMoeTopKRouter";
  RoutingRule rule;
  Value weight;

  TopKGating(const Scope& s, const GraniteMoeConfig& c)
      : Module(s),
        rule{.top_k = c.num_experts_per_tok, .order = "topk_first"},
        weight(s.parameter("weight", {c.num_local_experts, c.hidden_size})) {}

  Choice forward(const Value& x) const {
    const Routing routing = route(to_float32(linear(x, weight)), rule);
    return {routing.ids, to_activation(routing.weights), routing.logits};
  }
};

struct MoE : Module<MoE> {
  static constexpr const char* kClass = "GraniteMoeMoE";
  TopKGating router;
  Experts experts;

  MoE(const Scope& s, const GraniteMoeConfig& c)
      : Module(s),
        router(s.at("router", "router.layer"), c),
        experts(s / "experts", c.hidden_act,
                stacked(s, "gate_up_proj", "input_linear",
                        {c.num_local_experts, 2 * c.intermediate_size, c.hidden_size}),
                stacked(s, "down_proj", "output_linear",
                        {c.num_local_experts, c.hidden_size, c.intermediate_size})) {}

  Value forward(const Value& x) const {
    const Choice choice = router(x);
    const Value weights = to_float32(choice.weights);
    tap_routing({choice.logits, weights, choice.ids});
    return experts(x, choice.ids, weights);
  }
};

struct DecoderLayer : Module<DecoderLayer> {
  static constexpr const char* kClass = "GraniteMoeDecoderLayer";
  double residual_multiplier;
  Attention self_attn;
  MoE block_sparse_moe;
  RMSNorm input_layernorm, post_attention_layernorm;

  DecoderLayer(const Scope& s, const GraniteMoeConfig& c, int64_t)
      : Module(s),
        residual_multiplier(c.residual_multiplier),
        self_attn(s / "self_attn", c),
        block_sparse_moe(s / "block_sparse_moe", c),
        input_layernorm(s / "input_layernorm", c.hidden_size, c.norm_eps),
        post_attention_layernorm(s / "post_attention_layernorm", c.hidden_size, c.norm_eps) {}

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    const Value attn_output = self_attn(step, input_layernorm(x), positions);
    const Value attended = x + scale(attn_output, residual_multiplier);
    const Value moe_output = block_sparse_moe(post_attention_layernorm(attended));
    return attended + scale(moe_output, residual_multiplier);
  }
};

struct GraniteMoe : DecoderFamily {
  static constexpr const char* kCausalLM = "GraniteMoeForCausalLM";
  static constexpr const char* kModel = "GraniteMoeModel";
  using Config = GraniteMoeConfig;
  using Norm = RMSNorm;
  using Layer = DecoderLayer;

  static Value embedded(const GraniteMoeConfig& c, const Value& x) {
    return scale(x, c.embedding_multiplier);
  }
  static Value logits(const GraniteMoeConfig& c, const Value& x) {
    return scale(x, 1 / c.logits_scaling);
  }
};

using GraniteMoeForCausalLM = CausalLM<GraniteMoe>;

}  // namespace lockstep::granitemoe
