// OLMoE. Mirrors transformers models/olmoe/modeling_olmoe.py (5.x); member
// names are the reference's module names, so they bind the weights and name the taps.
#include <cmath>

#include "lockstep/lockstep.h"

namespace {
using namespace lockstep;

// The keys of OlmoeConfig that the computation reads, with OlmoeConfig's defaults.
struct OlmoeConfig {
  int64_t vocab_size, hidden_size, intermediate_size, num_hidden_layers;
  int64_t num_attention_heads, num_key_value_heads, head_dim, num_experts;
  double rms_norm_eps;
  std::string hidden_act;
  Bias attention_bias;
  bool tie_word_embeddings;
  RoutingRule routing;
  RopeFrequencies rope;

  explicit OlmoeConfig(const Config& c)
      : vocab_size(c.size("vocab_size", 50304)),
        hidden_size(c.size("hidden_size", 2048)),
        intermediate_size(c.size("intermediate_size", 2048)),
        num_hidden_layers(c.layers("num_hidden_layers", 16)),
        num_attention_heads(c.size("num_attention_heads", 16)),
        num_key_value_heads(c.size("num_key_value_heads", num_attention_heads)),
        head_dim(c.size("head_dim", hidden_size / num_attention_heads)),
        num_experts(c.size("num_experts", 64)),
        rms_norm_eps(c.positive("rms_norm_eps", 1e-5)),
        hidden_act(c.text("hidden_act", "silu")),
        attention_bias(Bias{c.flag("attention_bias", false)}),
        tie_word_embeddings(c.flag("tie_word_embeddings", false)),
        routing{.top_k = c.size("num_experts_per_tok", 8),
                .normalise = c.flag("norm_topk_prob", false)},
        rope(rope_frequencies(c, head_dim, 10000.0)) {
    for (const char* key : {"clip_qkv", "sliding_window"}) {
      if (!c.has(key)) continue;
      throw Error(ErrorCode::kUnimplemented,
                  c.where(key) + ": expected null, found " + std::to_string(c.number(key)));
    }
  }
};

struct Attention : Module<Attention> {
  static constexpr const char* kClass = "OlmoeAttention";
  int64_t head_dim;
  Linear q_proj, k_proj, v_proj, o_proj;
  RMSNorm q_norm, k_norm;

  Attention(const Scope& s, const OlmoeConfig& c)
      : Module(s),
        head_dim(c.head_dim),
        q_proj(s / "q_proj", c.hidden_size, c.num_attention_heads * head_dim, c.attention_bias),
        k_proj(s / "k_proj", c.hidden_size, c.num_key_value_heads * head_dim, c.attention_bias),
        v_proj(s / "v_proj", c.hidden_size, c.num_key_value_heads * head_dim, c.attention_bias),
        o_proj(s / "o_proj", c.num_attention_heads * head_dim, c.hidden_size, c.attention_bias),
        q_norm(s / "q_norm", c.num_attention_heads * head_dim, c.rms_norm_eps),
        k_norm(s / "k_norm", c.num_key_value_heads * head_dim, c.rms_norm_eps) {}

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    Value q = split_heads(q_norm(q_proj(x)), head_dim);
    Value k = split_heads(k_norm(k_proj(x)), head_dim);
    const Value v = split_heads(v_proj(x), head_dim);
    q = apply_rotary_pos_emb(q, positions);
    k = apply_rotary_pos_emb(k, positions);
    const double scaling = 1 / std::sqrt(static_cast<double>(head_dim));
    return o_proj(merge_heads(step.attend(q, k, v, {.scale = scaling})));
  }
};

struct DecoderLayer : Module<DecoderLayer> {
  static constexpr const char* kClass = "OlmoeDecoderLayer";
  Attention self_attn;
  SparseMoeBlock mlp;
  RMSNorm input_layernorm, post_attention_layernorm;

  DecoderLayer(const Scope& s, const OlmoeConfig& c)
      : Module(s),
        self_attn(s / "self_attn", c),
        mlp(s / "mlp", c.num_experts, c.hidden_size, c.intermediate_size, c.hidden_act, c.routing),
        input_layernorm(s / "input_layernorm", c.hidden_size, c.rms_norm_eps),
        post_attention_layernorm(s / "post_attention_layernorm", c.hidden_size, c.rms_norm_eps) {}

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    const Value attended = x + self_attn(step, input_layernorm(x), positions);
    return attended + mlp(post_attention_layernorm(attended));
  }
};

struct OlmoeModel : Module<OlmoeModel> {
  static constexpr const char* kClass = "OlmoeModel";
  Embedding embed_tokens;
  Layers<DecoderLayer> layers;
  RMSNorm norm;
  RotaryEmbedding rotary_emb;

  OlmoeModel(const Scope& s, const OlmoeConfig& c)
      : Module(s),
        embed_tokens(s / "embed_tokens", c.vocab_size, c.hidden_size),
        layers(c.num_hidden_layers, [&](int64_t i) { return DecoderLayer(s / "layers" / i, c); }),
        norm(s / "norm", c.hidden_size, c.rms_norm_eps),
        rotary_emb(s / "rotary_emb", c.rope) {}

  Value forward(const Step& step, const Value& input_ids) const {
    Value x = embed_tokens(input_ids);
    const PositionEmbeddings positions = rotary_emb(step.position_ids());
    for (const DecoderLayer& layer : layers) x = layer(step, x, positions);
    return norm(x);
  }
};

struct OlmoeForCausalLM : Module<OlmoeForCausalLM> {
  static constexpr const char* kClass = "OlmoeForCausalLM";
  OlmoeConfig config;
  OlmoeModel model;
  Linear lm_head;

  OlmoeForCausalLM(const Scope& s, const Config& c)
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

LOCKSTEP_ARCHITECTURE(olmoe, "OlmoeForCausalLM", "model", OlmoeForCausalLM)
LOCKSTEP_PORT(olmoe)
