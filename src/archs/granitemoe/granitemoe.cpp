// Granite 3 with experts. Mirrors transformers models/granitemoe/modeling_granitemoe.py (5.x);
// member names are the reference's module names, so they bind the weights and name the taps.
#include <initializer_list>

#include "lockstep/lockstep.h"

namespace {
using namespace lockstep;

// The keys of GraniteMoeConfig that the computation reads, with GraniteMoeConfig's defaults.
struct GraniteMoeConfig {
  int64_t vocab_size, hidden_size, intermediate_size, num_hidden_layers;
  int64_t num_attention_heads, num_key_value_heads, head_dim;
  int64_t num_local_experts, num_experts_per_tok;
  double rms_norm_eps;
  double embedding_multiplier, logits_scaling, residual_multiplier, attention_multiplier;
  std::string hidden_act;
  Bias attention_bias;
  bool tie_word_embeddings;
  RopeFrequencies rope;

  explicit GraniteMoeConfig(const Config& c)
      : vocab_size(c.size("vocab_size", 32000)),
        hidden_size(c.size("hidden_size", 4096)),
        intermediate_size(c.size("intermediate_size", 11008)),
        num_hidden_layers(c.layers("num_hidden_layers", 32)),
        num_attention_heads(c.size("num_attention_heads", 32)),
        num_key_value_heads(c.size("num_key_value_heads", num_attention_heads)),
        head_dim(c.size("head_dim", hidden_size / num_attention_heads)),
        num_local_experts(c.size("num_local_experts", 8)),
        num_experts_per_tok(c.size("num_experts_per_tok", 2)),
        rms_norm_eps(c.positive("rms_norm_eps", 1e-6)),
        embedding_multiplier(c.number("embedding_multiplier", 1.0)),
        logits_scaling(c.positive("logits_scaling", 1.0)),
        residual_multiplier(c.number("residual_multiplier", 1.0)),
        attention_multiplier(c.number("attention_multiplier", 1.0)),
        hidden_act(c.text("hidden_act", "silu")),
        attention_bias(Bias{c.flag("attention_bias", false)}),
        tie_word_embeddings(c.flag("tie_word_embeddings", false)),
        rope(rope_frequencies(c, head_dim, 10000.0)) {}
};

struct Attention : Module<Attention> {
  static constexpr const char* kClass = "GraniteMoeAttention";
  int64_t head_dim;
  double scaling;
  Linear q_proj, k_proj, v_proj, o_proj;

  Attention(const Scope& s, const GraniteMoeConfig& c)
      : Module(s),
        head_dim(c.head_dim),
        scaling(c.attention_multiplier),
        q_proj(s / "q_proj", c.hidden_size, c.num_attention_heads * head_dim, c.attention_bias),
        k_proj(s / "k_proj", c.hidden_size, c.num_key_value_heads * head_dim, c.attention_bias),
        v_proj(s / "v_proj", c.hidden_size, c.num_key_value_heads * head_dim, c.attention_bias),
        o_proj(s / "o_proj", c.num_attention_heads * head_dim, c.hidden_size, c.attention_bias) {}

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    Value q = split_heads(q_proj(x), head_dim);
    Value k = split_heads(k_proj(x), head_dim);
    const Value v = split_heads(v_proj(x), head_dim);
    q = apply_rotary_pos_emb(q, positions);
    k = apply_rotary_pos_emb(k, positions);
    return o_proj(merge_heads(step.attend(q, k, v, {.scale = scaling})));
  }
};

// A weight that transformers 4 stores below a linear layer of its own, stacked all the same.
Value stacked(const Scope& s, const char* name, const char* older,
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

  DecoderLayer(const Scope& s, const GraniteMoeConfig& c)
      : Module(s),
        residual_multiplier(c.residual_multiplier),
        self_attn(s / "self_attn", c),
        block_sparse_moe(s / "block_sparse_moe", c),
        input_layernorm(s / "input_layernorm", c.hidden_size, c.rms_norm_eps),
        post_attention_layernorm(s / "post_attention_layernorm", c.hidden_size, c.rms_norm_eps) {}

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    const Value attn_output = self_attn(step, input_layernorm(x), positions);
    const Value attended = x + scale(attn_output, residual_multiplier);
    const Value moe_output = block_sparse_moe(post_attention_layernorm(attended));
    return attended + scale(moe_output, residual_multiplier);
  }
};

struct GraniteMoeModel : Module<GraniteMoeModel> {
  static constexpr const char* kClass = "GraniteMoeModel";
  double embedding_multiplier;
  Embedding embed_tokens;
  Layers<DecoderLayer> layers;
  RMSNorm norm;
  RotaryEmbedding rotary_emb;

  GraniteMoeModel(const Scope& s, const GraniteMoeConfig& c)
      : Module(s),
        embedding_multiplier(c.embedding_multiplier),
        embed_tokens(s / "embed_tokens", c.vocab_size, c.hidden_size),
        layers(c.num_hidden_layers, [&](int64_t i) { return DecoderLayer(s / "layers" / i, c); }),
        norm(s / "norm", c.hidden_size, c.rms_norm_eps),
        rotary_emb(s / "rotary_emb", c.rope) {}

  Value forward(const Step& step, const Value& input_ids) const {
    Value x = scale(embed_tokens(input_ids), embedding_multiplier);
    const PositionEmbeddings positions = rotary_emb(step.position_ids());
    for (const DecoderLayer& layer : layers) x = layer(step, x, positions);
    return norm(x);
  }
};

struct GraniteMoeForCausalLM : Module<GraniteMoeForCausalLM> {
  static constexpr const char* kClass = "GraniteMoeForCausalLM";
  GraniteMoeConfig config;
  GraniteMoeModel model;
  Linear lm_head;

  GraniteMoeForCausalLM(const Scope& s, const Config& c)
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
    return scale(lm_head(step.logits_to_keep(hidden)), 1 / config.logits_scaling);
  }
};

}  // namespace

LOCKSTEP_ARCHITECTURE(granitemoe, "GraniteMoeForCausalLM", "model", GraniteMoeForCausalLM)
LOCKSTEP_PORT(granitemoe)
