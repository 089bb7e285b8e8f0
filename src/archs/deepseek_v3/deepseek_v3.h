// DeepSeek-V3. Mirrors transformers models/deepseek_v3/modeling_deepseek_v3.py (5.x); member names
// are the reference's module names, so they bind the weights and name the taps.
#pragma once

#include <cmath>
#include <optional>

#include "lockstep/lockstep.h"

namespace lockstep::deepseek_v3 {

// The keys of DeepseekV3Config that the computation reads, with DeepseekV3Config's defaults.
struct DeepseekV3Config {
  int64_t vocab_size, hidden_size, intermediate_size, moe_intermediate_size, num_hidden_layers;
  int64_t n_shared_experts, n_routed_experts, first_k_dense_replace;
  double norm_eps;
  std::string hidden_act;
  bool tie_word_embeddings;
  LatentAttentionConfig attention;
  RoutingRule routing;
  RopeFrequencies rope;

  explicit DeepseekV3Config(const Config& c)
      : vocab_size(c.size("vocab_size", 129280)),
        hidden_size(c.size("hidden_size", 7168)),
        intermediate_size(c.size("intermediate_size", 18432)),
        moe_intermediate_size(c.size("moe_intermediate_size", 2048)),
        num_hidden_layers(c.layers("num_hidden_layers", 61)),
        n_shared_experts(c.size("n_shared_experts", 1)),
        n_routed_experts(c.size("n_routed_experts", 256)),
        first_k_dense_replace(c.size("first_k_dense_replace", 3, 0)),
        norm_eps(c.positive("rms_norm_eps", 1e-6)),
        hidden_act(c.text("hidden_act", "silu")),
        tie_word_embeddings(c.flag("tie_word_embeddings", false)),
        attention{.hidden_size = hidden_size,
                  .num_attention_heads = c.size("num_attention_heads", 128),
                  .q_lora_rank = c.is_null("q_lora_rank") ? 0 : c.size("q_lora_rank", 1536),
                  .kv_lora_rank = c.size("kv_lora_rank", 512),
                  .qk_nope_head_dim = c.size("qk_nope_head_dim", 128),
                  .qk_rope_head_dim = c.size("qk_rope_head_dim", 64),
                  .v_head_dim = c.size("v_head_dim", 128),
                  .scaling = 0,
                  .attention_bias = Bias{c.flag("attention_bias", false)},
                  .rope_style = c.flag("rope_interleave", true) ? RopeStyle::kInterleavedToHalf
                                                                : RopeStyle::kHalf},
        routing{.top_k = c.size("num_experts_per_tok", 8),
                .scoring = "sigmoid",
                .normalise = c.flag("norm_topk_prob", true),
                .scaling = c.number("routed_scaling_factor", 2.5),
                .n_group = c.size("n_group", 8),
                .topk_group = c.size("topk_group", 4)},
        rope(rope_frequencies(c, c.derived_size("head_dim", attention.qk_rope_head_dim),
                              {.max_position_embeddings = 4096})) {
    const int64_t qk_head_dim = attention.qk_nope_head_dim + attention.qk_rope_head_dim;
    attention.scaling = yarn_apply_mscale(c, 1 / std::sqrt(static_cast<double>(qk_head_dim)));
    c.derived_size("qk_head_dim", qk_head_dim);
    c.derived_size("num_key_value_heads", attention.num_attention_heads);
  }
};

struct TopkRouter : Module<TopkRouter> {
  static constexpr const char* kClass = "DeepseekV3TopkRouter";
  Value weight, e_score_correction_bias;

  TopkRouter(const Scope& s, const DeepseekV3Config& c)
      : Module(s),
        weight(s.parameter("weight", {c.n_routed_experts, c.hidden_size})),
        e_score_correction_bias(s.parameter("e_score_correction_bias", {c.n_routed_experts})) {}

  Value forward(const Value& x) const { return linear(to_float32(x), weight); }
  std::optional<Value> correction() const { return e_score_correction_bias; }
};

struct MoE : SharedExpertsMoe<MoE, TopkRouter> {
  static constexpr const char* kClass = "DeepseekV3MoE";

  MoE(const Scope& s, const DeepseekV3Config& c) : SharedExpertsMoe(s, c) {}
};

struct DeepseekV3 : DecoderFamily {
  static constexpr const char* kCausalLM = "DeepseekV3ForCausalLM";
  static constexpr const char* kModel = "DeepseekV3Model";
  static constexpr const char* kLayer = "DeepseekV3DecoderLayer";
  using Config = DeepseekV3Config;
  using Norm = RMSNorm;
  using Attention = LatentAttention;
  using MLP = DenseThenSparse<GatedMLP, MoE>;
  using Layer = PreNormLayer<DeepseekV3>;
};

struct DeepseekV3ForCausalLM : CausalLM<DeepseekV3> {
  DeepseekV3ForCausalLM(const Scope& s, const Config& c) : CausalLM(s, c) {
    for (int64_t i = 0; i < c.size("num_nextn_predict_layers", 1, 0, 64); ++i) {
      const std::string extra = "*layers." + std::to_string(config.num_hidden_layers + i) + ".*";
      s.builder().drop(extra.c_str(), "a layer that predicts further tokens: not in forward()");
    }
  }
};

}  // namespace lockstep::deepseek_v3
