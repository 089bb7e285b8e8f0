// Qwen3 with experts. Mirrors transformers models/qwen3_moe/modeling_qwen3_moe.py (5.x); member
// names are the reference's module names, so they bind the weights and name the taps.
#pragma once

#include <variant>
#include <vector>

#include "lockstep/lockstep.h"

namespace lockstep::qwen3_moe {

// The keys of Qwen3MoeConfig that the computation reads, with Qwen3MoeConfig's defaults.
struct Qwen3MoeConfig : DecoderConfig {
  int64_t moe_intermediate_size, num_experts;
  int64_t sliding_window;  // 0: none
  SparseLayers sparse;
  double norm_eps;
  std::string hidden_act;
  Bias attention_bias;
  RoutingRule routing;
  RopeFrequencies rope;

  explicit Qwen3MoeConfig(const Config& c)
      : DecoderConfig(c, {.vocab_size = 151936,
                          .hidden_size = 2048,
                          .intermediate_size = 6144,
                          .num_hidden_layers = 24,
                          .num_attention_heads = 32,
                          .num_key_value_heads = 4}),
        moe_intermediate_size(c.size("moe_intermediate_size", 768)),
        // The class writes num_local_experts for what checkpoints call num_experts.
        num_experts(c.has("num_local_experts") ? c.size("num_local_experts")
                                               : c.size("num_experts", 128)),
        sliding_window(c.size("sliding_window", 4096)),
        sparse(c),
        norm_eps(c.positive("rms_norm_eps", 1e-6)),
        hidden_act(c.text("hidden_act", "silu")),
        attention_bias(Bias{c.flag("attention_bias", false)}),
        routing{.top_k = c.size("num_experts_per_tok", 8),
                .normalise = c.flag("norm_topk_prob", false)},
        rope(rope_frequencies(c, head_dim, {.max_position_embeddings = 32768})) {
    if (!c.flag("use_sliding_window", false) || c.is_null("sliding_window")) sliding_window = 0;
  }
};

struct Attention : HeadNormAttention<Attention, RMSNorm> {
  static constexpr const char* kClass = "Qwen3MoeAttention";

  Attention(const Scope& s, const Qwen3MoeConfig& c, int64_t)
      : HeadNormAttention(s, c, c.sliding_window) {}
};

struct FeedForward : EitherBlock<GatedMLP, SparseMoeBlock> {
  FeedForward(const Scope& s, const Qwen3MoeConfig& c, int64_t layer_idx)
      : EitherBlock{made(s, c, layer_idx)} {}

 private:
  static std::variant<GatedMLP, SparseMoeBlock> made(const Scope& s, const Qwen3MoeConfig& c,
                                                     int64_t layer_idx) {
    if (!c.sparse.contains(layer_idx)) return GatedMLP(s, c);
    return SparseMoeBlock(s, c.num_experts, c.hidden_size, c.moe_intermediate_size, c.hidden_act,
                          c.routing);
  }
};

struct Qwen3Moe : DecoderFamily {
  static constexpr const char* kCausalLM = "Qwen3MoeForCausalLM";
  static constexpr const char* kModel = "Qwen3MoeModel";
  static constexpr const char* kLayer = "Qwen3MoeDecoderLayer";
  using Config = Qwen3MoeConfig;
  using Norm = RMSNorm;
  using Attention = qwen3_moe::Attention;
  using MLP = FeedForward;
  using Layer = PreNormLayer<Qwen3Moe>;
};

using Qwen3MoeForCausalLM = CausalLM<Qwen3Moe>;

}  // namespace lockstep::qwen3_moe
