// OLMoE. Mirrors transformers models/olmoe/modeling_olmoe.py (5.x); member
// names are the reference's module names, so they bind the weights and name the taps.
#pragma once

#include "lockstep/lockstep.h"

namespace lockstep::olmoe {

// The keys of OlmoeConfig that the computation reads, with OlmoeConfig's defaults.
struct OlmoeConfig : DecoderConfig {
  int64_t num_experts;
  double norm_eps;
  std::string hidden_act;
  Bias attention_bias;
  RoutingRule routing;
  RopeFrequencies rope;

  explicit OlmoeConfig(const Config& c)
      : DecoderConfig(c, {.vocab_size = 50304,
                          .hidden_size = 2048,
                          .intermediate_size = 2048,
                          .num_hidden_layers = 16,
                          .num_attention_heads = 16}),
        num_experts(c.size("num_experts", 64)),
        norm_eps(c.positive("rms_norm_eps", 1e-5)),
        hidden_act(c.text("hidden_act", "silu")),
        attention_bias(Bias{c.flag("attention_bias", false)}),
        routing{.top_k = c.size("num_experts_per_tok", 8),
                .normalise = c.flag("norm_topk_prob", false)},
        rope(rope_frequencies(c, head_dim, {.max_position_embeddings = 4096})) {
    for (const char* key : {"clip_qkv", "sliding_window"}) {
      if (!c.has(key)) continue;
      throw Error(ErrorCode::kUnimplemented,
                  c.where(key) + ": expected null, found " + std::to_string(c.number(key)));
    }
  }
};

struct Attention : WideNormAttention<Attention, RMSNorm> {
  static constexpr const char* kClass = "OlmoeAttention";
  using WideNormAttention::WideNormAttention;
};

struct MoE : SparseMoeBlock {
  MoE(const Scope& s, const OlmoeConfig& c)
      : SparseMoeBlock(s, c.num_experts, c.hidden_size, c.intermediate_size, c.hidden_act,
                       c.routing) {}
};

struct Olmoe : DecoderFamily {
  static constexpr const char* kCausalLM = "OlmoeForCausalLM";
  static constexpr const char* kModel = "OlmoeModel";
  static constexpr const char* kLayer = "OlmoeDecoderLayer";
  using Config = OlmoeConfig;
  using Norm = RMSNorm;
  using Attention = olmoe::Attention;
  using MLP = MoE;
  using Layer = PreNormLayer<Olmoe>;
};

using OlmoeForCausalLM = CausalLM<Olmoe>;

}  // namespace lockstep::olmoe
