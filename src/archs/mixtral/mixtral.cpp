// Mixtral. Mirrors transformers models/mixtral/modeling_mixtral.py (5.x), whose module paths say
// `mlp` where checkpoints of the older generation say `block_sparse_moe`.
#include <cmath>

#include "lockstep/lockstep.h"

namespace {
using namespace lockstep;

// The keys of MixtralConfig that the computation reads, with MixtralConfig's defaults.
struct MixtralConfig {
  int64_t vocab_size, hidden_size, intermediate_size, num_hidden_layers;
  int64_t num_attention_heads, num_key_value_heads, head_dim;
  int64_t num_local_experts, num_experts_per_tok;
  double rms_norm_eps;
  std::string hidden_act;
  bool tie_word_embeddings;
  RopeFrequencies rope;

  explicit MixtralConfig(const Config& c)
      : vocab_size(c.size("vocab_size", 32000)),
        hidden_size(c.size("hidden_size", 4096)),
        intermediate_size(c.size("intermediate_size", 14336)),
        num_hidden_layers(c.layers("num_hidden_layers", 32)),
        num_attention_heads(c.size("num_attention_heads", 32)),
        num_key_value_heads(c.is_null("num_key_value_heads") ? num_attention_heads
                                                             : c.size("num_key_value_heads", 8)),
        head_dim(c.size("head_dim", hidden_size / num_attention_heads)),
        num_local_experts(c.size("num_local_experts", 8)),
        num_experts_per_tok(c.size("num_experts_per_tok", 2)),
        rms_norm_eps(c.positive("rms_norm_eps", 1e-5)),
        hidden_act(c.text("hidden_act", "silu")),
        tie_word_embeddings(c.flag("tie_word_embeddings", false)),
        rope(rope_frequencies(c, head_dim, 1000000.0)) {
    if (c.has("sliding_window")) {
      throw Error(ErrorCode::kUnimplemented, c.where("sliding_window") + ": expected null, found " +
                                                 std::to_string(c.integer("sliding_window")));
    }
  }
};

struct Attention : Module<Attention> {
  static constexpr const char* kClass = "MixtralAttention";
  int64_t head_dim;
  Linear q_proj, k_proj, v_proj, o_proj;

  Attention(const Scope& s, const MixtralConfig& c)
      : Module(s),
        head_dim(c.head_dim),
        q_proj(s / "q_proj", c.hidden_size, c.num_attention_heads * head_dim),
        k_proj(s / "k_proj", c.hidden_size, c.num_key_value_heads * head_dim),
        v_proj(s / "v_proj", c.hidden_size, c.num_key_value_heads * head_dim),
        o_proj(s / "o_proj", c.num_attention_heads * head_dim, c.hidden_size) {}

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    Value q = split_heads(q_proj(x), head_dim);
    Value k = split_heads(k_proj(x), head_dim);
    const Value v = split_heads(v_proj(x), head_dim);
    q = apply_rotary_pos_emb(q, positions);
    k = apply_rotary_pos_emb(k, positions);
    const double scaling = 1 / std::sqrt(static_cast<double>(head_dim));
    return o_proj(merge_heads(step.attend(q, k, v, {.scale = scaling})));
  }
};

struct DecoderLayer : Module<DecoderLayer> {
  static constexpr const char* kClass = "MixtralDecoderLayer";
  Attention self_attn;
  SparseMoeBlock mlp;
  RMSNorm input_layernorm, post_attention_layernorm;

  DecoderLayer(const Scope& s, const MixtralConfig& c)
      : Module(s),
        self_attn(s / "self_attn", c),
        mlp(s.at("mlp", "block_sparse_moe"), c.num_local_experts, c.hidden_size,
            c.intermediate_size, c.hidden_act, {.top_k = c.num_experts_per_tok, .normalise = true},
            {.gate = "w1", .up = "w3", .down = "w2"}),
        input_layernorm(s / "input_layernorm", c.hidden_size, c.rms_norm_eps),
        post_attention_layernorm(s / "post_attention_layernorm", c.hidden_size, c.rms_norm_eps) {}

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    const Value attended = x + self_attn(step, input_layernorm(x), positions);
    return attended + mlp(post_attention_layernorm(attended));
  }
};

struct MixtralModel : Module<MixtralModel> {
  static constexpr const char* kClass = "MixtralModel";
  Embedding embed_tokens;
  Layers<DecoderLayer> layers;
  RMSNorm norm;
  RotaryEmbedding rotary_emb;

  MixtralModel(const Scope& s, const MixtralConfig& c)
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

struct MixtralForCausalLM : Module<MixtralForCausalLM> {
  static constexpr const char* kClass = "MixtralForCausalLM";
  MixtralConfig config;
  MixtralModel model;
  Linear lm_head;

  MixtralForCausalLM(const Scope& s, const Config& c)
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

LOCKSTEP_ARCHITECTURE(mixtral, "MixtralForCausalLM", "model", MixtralForCausalLM)
LOCKSTEP_PORT(mixtral)
