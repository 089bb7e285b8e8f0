// Qwen1.5 and Qwen2 with experts. Mirrors transformers models/qwen2_moe/modeling_qwen2_moe.py
// (5.x); member names are the reference's module names, so they bind the weights and name the taps.
#pragma once

#include <variant>
#include <vector>

#include "lockstep/lockstep.h"

namespace lockstep::qwen2_moe {

// The window of each layer, from layer_types; where these are absent, every other one of the first
// max_window_layers has it, beginning with the first.
inline std::vector<int64_t> layer_windows(const Config& c, int64_t n_layers) {
  const int64_t max_window_layers = c.size("max_window_layers", 28, 0);
  const bool use_sliding_window = c.flag("use_sliding_window", false);
  // The class writes 0 for a window that is not used.
  const int64_t window = c.size("sliding_window", 4096, use_sliding_window ? 1 : 0);
  const std::vector<std::string> types = c.layer_types(
      n_layers, use_sliding_window ? std::vector<std::string>{"full_attention", "sliding_attention"}
                                   : std::vector<std::string>{"full_attention"});
  std::vector<int64_t> windows;
  for (int64_t i = 0; i < n_layers; ++i) {
    const bool is_local = types.empty() ? use_sliding_window && i % 2 == 0 && i < max_window_layers
                                        : types[static_cast<size_t>(i)] == "sliding_attention";
    windows.push_back(is_local ? window : 0);
  }
  return windows;
}

// The keys of Qwen2MoeConfig that the computation reads, with Qwen2MoeConfig's defaults.
struct Qwen2MoeConfig : DecoderConfig {
  int64_t moe_intermediate_size, shared_expert_intermediate_size, num_experts;
  std::vector<int64_t> windows;  // [num_hidden_layers], 0: none
  SparseLayers sparse;
  double norm_eps;
  std::string hidden_act;
  Bias qkv_bias;
  RoutingRule routing;
  RopeFrequencies rope;

  explicit Qwen2MoeConfig(const Config& c)
      : DecoderConfig(c, {.vocab_size = 151936,
                          .hidden_size = 2048,
                          .intermediate_size = 5632,
                          .num_hidden_layers = 24,
                          .num_attention_heads = 16,
                          .num_key_value_heads = 16,
                          .null_key_value_heads = DecoderDefaults::Null::kAllHeads}),
        moe_intermediate_size(c.size("moe_intermediate_size", 1408)),
        shared_expert_intermediate_size(c.size("shared_expert_intermediate_size", 5632)),
        num_experts(c.size("num_experts", 60)),
        windows(layer_windows(c, num_hidden_layers)),
        sparse(c),
        norm_eps(c.positive("rms_norm_eps", 1e-6)),
        hidden_act(c.text("hidden_act", "silu")),
        qkv_bias(Bias{c.flag("qkv_bias", true)}),
        routing{.top_k = c.size("num_experts_per_tok", 4),
                .normalise = c.flag("norm_topk_prob", false)},
        rope(rope_frequencies(c, head_dim, {.max_position_embeddings = 32768})) {}
};

struct Attention : RotaryAttention<Attention> {
  static constexpr const char* kClass = "Qwen2MoeAttention";

  Attention(const Scope& s, const Qwen2MoeConfig& c, int64_t layer_idx)
      : RotaryAttention(s, c,
                        {.scale = head_scaling(c.head_dim),
                         .window = c.windows[static_cast<size_t>(layer_idx)]},
                        c.qkv_bias) {}
};

struct FeedForward : EitherBlock<GatedMLP, SharedExpertMoeBlock> {
  FeedForward(const Scope& s, const Qwen2MoeConfig& c, int64_t layer_idx)
      : EitherBlock{made(s, c, layer_idx)} {}

 private:
  static std::variant<GatedMLP, SharedExpertMoeBlock> made(const Scope& s, const Qwen2MoeConfig& c,
                                                           int64_t layer_idx) {
    if (!c.sparse.contains(layer_idx)) return GatedMLP(s, c);
    return SharedExpertMoeBlock(s, c.num_experts, c.hidden_size, c.moe_intermediate_size,
                                c.shared_expert_intermediate_size, c.hidden_act, c.routing);
  }
};

struct Qwen2Moe : DecoderFamily {
  static constexpr const char* kCausalLM = "Qwen2MoeForCausalLM";
  static constexpr const char* kModel = "Qwen2MoeModel";
  static constexpr const char* kLayer = "Qwen2MoeDecoderLayer";
  using Config = Qwen2MoeConfig;
  using Norm = RMSNorm;
  using Attention = qwen2_moe::Attention;
  using MLP = FeedForward;
  using Layer = PreNormLayer<Qwen2Moe>;
};

using Qwen2MoeForCausalLM = CausalLM<Qwen2Moe>;

}  // namespace lockstep::qwen2_moe
