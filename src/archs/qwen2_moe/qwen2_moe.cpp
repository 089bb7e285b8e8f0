// Qwen1.5 and Qwen2 with experts. Mirrors transformers models/qwen2_moe/modeling_qwen2_moe.py
// (5.x); member names are the reference's module names, so they bind the weights and name the taps.
#include <algorithm>
#include <cmath>
#include <variant>
#include <vector>

#include "lockstep/lockstep.h"

namespace {
using namespace lockstep;

// The window of each layer, from layer_types; where these are absent, every other one of the first
// max_window_layers has it, beginning with the first.
std::vector<int64_t> layer_windows(const Config& c, int64_t n_layers) {
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
struct Qwen2MoeConfig {
  int64_t vocab_size, hidden_size, intermediate_size, num_hidden_layers;
  int64_t num_attention_heads, num_key_value_heads, head_dim;
  int64_t decoder_sparse_step, moe_intermediate_size, shared_expert_intermediate_size, num_experts;
  std::vector<int64_t> windows;  // [num_hidden_layers], 0: none
  std::vector<int64_t> mlp_only_layers;
  double rms_norm_eps;
  std::string hidden_act;
  Bias qkv_bias;
  bool tie_word_embeddings;
  RoutingRule routing;
  RopeFrequencies rope;

  explicit Qwen2MoeConfig(const Config& c)
      : vocab_size(c.size("vocab_size", 151936)),
        hidden_size(c.size("hidden_size", 2048)),
        intermediate_size(c.size("intermediate_size", 5632)),
        num_hidden_layers(c.layers("num_hidden_layers", 24)),
        num_attention_heads(c.size("num_attention_heads", 16)),
        num_key_value_heads(c.is_null("num_key_value_heads") ? num_attention_heads
                                                             : c.size("num_key_value_heads", 16)),
        head_dim(c.size("head_dim", hidden_size / num_attention_heads)),
        decoder_sparse_step(c.size("decoder_sparse_step", 1)),
        moe_intermediate_size(c.size("moe_intermediate_size", 1408)),
        shared_expert_intermediate_size(c.size("shared_expert_intermediate_size", 5632)),
        num_experts(c.size("num_experts", 60)),
        windows(layer_windows(c, num_hidden_layers)),
        mlp_only_layers(c.integers("mlp_only_layers")),
        rms_norm_eps(c.positive("rms_norm_eps", 1e-6)),
        hidden_act(c.text("hidden_act", "silu")),
        qkv_bias(Bias{c.flag("qkv_bias", true)}),
        tie_word_embeddings(c.flag("tie_word_embeddings", false)),
        routing{.top_k = c.size("num_experts_per_tok", 4),
                .normalise = c.flag("norm_topk_prob", false)},
        rope(rope_frequencies(c, head_dim, 10000.0)) {}

  bool is_sparse(int64_t layer) const {
    const bool is_listed =
        std::find(mlp_only_layers.begin(), mlp_only_layers.end(), layer) != mlp_only_layers.end();
    return !is_listed && (layer + 1) % decoder_sparse_step == 0;
  }
};

struct Attention : Module<Attention> {
  static constexpr const char* kClass = "Qwen2MoeAttention";
  int64_t head_dim, sliding_window;
  Linear q_proj, k_proj, v_proj, o_proj;

  Attention(const Scope& s, const Qwen2MoeConfig& c, int64_t layer)
      : Module(s),
        head_dim(c.head_dim),
        sliding_window(c.windows[static_cast<size_t>(layer)]),
        q_proj(s / "q_proj", c.hidden_size, c.num_attention_heads * head_dim, c.qkv_bias),
        k_proj(s / "k_proj", c.hidden_size, c.num_key_value_heads * head_dim, c.qkv_bias),
        v_proj(s / "v_proj", c.hidden_size, c.num_key_value_heads * head_dim, c.qkv_bias),
        o_proj(s / "o_proj", c.num_attention_heads * head_dim, c.hidden_size) {}

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    Value q = split_heads(q_proj(x), head_dim);
    Value k = split_heads(k_proj(x), head_dim);
    const Value v = split_heads(v_proj(x), head_dim);
    q = apply_rotary_pos_emb(q, positions);
    k = apply_rotary_pos_emb(k, positions);
    const double scaling = 1 / std::sqrt(static_cast<double>(head_dim));
    return o_proj(merge_heads(step.attend(q, k, v, {.scale = scaling, .window = sliding_window})));
  }
};

using FeedForward = std::variant<GatedMLP, SharedExpertMoeBlock>;

FeedForward feed_forward(const Scope& s, const Qwen2MoeConfig& c, int64_t layer) {
  if (!c.is_sparse(layer)) return GatedMLP(s, c.hidden_size, c.intermediate_size, c.hidden_act);
  return SharedExpertMoeBlock(s, c.num_experts, c.hidden_size, c.moe_intermediate_size,
                              c.shared_expert_intermediate_size, c.hidden_act, c.routing);
}

struct DecoderLayer : Module<DecoderLayer> {
  static constexpr const char* kClass = "Qwen2MoeDecoderLayer";
  Attention self_attn;
  FeedForward mlp;
  RMSNorm input_layernorm, post_attention_layernorm;

  DecoderLayer(const Scope& s, const Qwen2MoeConfig& c, int64_t layer)
      : Module(s),
        self_attn(s / "self_attn", c, layer),
        mlp(feed_forward(s / "mlp", c, layer)),
        input_layernorm(s / "input_layernorm", c.hidden_size, c.rms_norm_eps),
        post_attention_layernorm(s / "post_attention_layernorm", c.hidden_size, c.rms_norm_eps) {}

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    const Value attended = x + self_attn(step, input_layernorm(x), positions);
    const Value normed = post_attention_layernorm(attended);
    return attended + std::visit([&](const auto& block) { return block(normed); }, mlp);
  }
};

struct Qwen2MoeModel : Module<Qwen2MoeModel> {
  static constexpr const char* kClass = "Qwen2MoeModel";
  Embedding embed_tokens;
  Layers<DecoderLayer> layers;
  RMSNorm norm;
  RotaryEmbedding rotary_emb;

  Qwen2MoeModel(const Scope& s, const Qwen2MoeConfig& c)
      : Module(s),
        embed_tokens(s / "embed_tokens", c.vocab_size, c.hidden_size),
        layers(c.num_hidden_layers,
               [&](int64_t i) { return DecoderLayer(s / "layers" / i, c, i); }),
        norm(s / "norm", c.hidden_size, c.rms_norm_eps),
        rotary_emb(s / "rotary_emb", c.rope) {}

  Value forward(const Step& step, const Value& input_ids) const {
    Value x = embed_tokens(input_ids);
    const PositionEmbeddings positions = rotary_emb(step.position_ids());
    for (const DecoderLayer& layer : layers) x = layer(step, x, positions);
    return norm(x);
  }
};

struct Qwen2MoeForCausalLM : Module<Qwen2MoeForCausalLM> {
  static constexpr const char* kClass = "Qwen2MoeForCausalLM";
  Qwen2MoeConfig config;
  Qwen2MoeModel model;
  Linear lm_head;

  Qwen2MoeForCausalLM(const Scope& s, const Config& c)
      : Module(s),
        config(c),
        model(s / "model", config),
        lm_head(config.tie_word_embeddings
                    ? Linear(s / "lm_head", model.embed_tokens)
                    : Linear(s / "lm_head", config.hidden_size, config.vocab_size)) {
    s.builder().drop("*rotary_emb.inv_freq", "a buffer: computed from config.json");
  }

  Value forward(const Step& step) const {
    const Value hidden = model(step, step.input_ids());
    return lm_head(step.logits_to_keep(hidden));
  }
};

}  // namespace

LOCKSTEP_ARCHITECTURE(qwen2_moe, "Qwen2MoeForCausalLM", "model", Qwen2MoeForCausalLM)
LOCKSTEP_PORT(qwen2_moe)
