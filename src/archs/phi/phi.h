// Phi 1, 1.5 and 2. Mirrors transformers models/phi/modeling_phi.py (5.x); member names are the
// reference's module names, so they bind the weights and name the taps.
#pragma once

#include <cmath>
#include <optional>

#include "lockstep/lockstep.h"

namespace lockstep::phi {

// The keys of PhiConfig that the computation reads, with PhiConfig's defaults.
struct PhiConfig {
  int64_t vocab_size, hidden_size, intermediate_size, num_hidden_layers;
  int64_t num_attention_heads, num_key_value_heads, head_dim;
  std::string hidden_act;
  double layer_norm_eps;
  bool qk_layernorm, tie_word_embeddings;
  RopeFrequencies rope;

  explicit PhiConfig(const Config& c)
      : vocab_size(c.size("vocab_size", 51200)),
        hidden_size(c.size("hidden_size", 2048)),
        intermediate_size(c.size("intermediate_size", 8192)),
        num_hidden_layers(c.layers("num_hidden_layers", 24)),
        num_attention_heads(c.size("num_attention_heads", 32)),
        num_key_value_heads(c.size("num_key_value_heads", num_attention_heads)),
        head_dim(c.size("head_dim", hidden_size / num_attention_heads)),
        hidden_act(c.text("hidden_act", "gelu_new")),
        layer_norm_eps(c.positive("layer_norm_eps", 1e-5)),
        qk_layernorm(c.flag("qk_layernorm", false)),
        tie_word_embeddings(c.flag("tie_word_embeddings", false)),
        rope(rope_frequencies(c, partial_rotary_dim(c, head_dim, 0.5), 10000.0)) {}
};

struct Attention : Module<Attention> {
  static constexpr const char* kClass = "PhiAttention";
  int64_t head_dim;
  Linear q_proj, k_proj, v_proj, dense;
  std::optional<LayerNorm> q_layernorm, k_layernorm;

  Attention(const Scope& s, const PhiConfig& c)
      : Module(s),
        head_dim(c.head_dim),
        q_proj(s / "q_proj", c.hidden_size, c.num_attention_heads * head_dim, Bias::kYes),
        k_proj(s / "k_proj", c.hidden_size, c.num_key_value_heads * head_dim, Bias::kYes),
        v_proj(s / "v_proj", c.hidden_size, c.num_key_value_heads * head_dim, Bias::kYes),
        dense(s / "dense", c.num_attention_heads * head_dim, c.hidden_size, Bias::kYes) {
    if (!c.qk_layernorm) return;
    q_layernorm.emplace(s / "q_layernorm", head_dim, c.layer_norm_eps);
    k_layernorm.emplace(s / "k_layernorm", head_dim, c.layer_norm_eps);
  }

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    Value q = split_heads(q_proj(x), head_dim);
    Value k = split_heads(k_proj(x), head_dim);
    const Value v = split_heads(v_proj(x), head_dim);
    if (q_layernorm) {
      q = (*q_layernorm)(q);
      k = (*k_layernorm)(k);
    }
    q = apply_rotary_pos_emb(q, positions);
    k = apply_rotary_pos_emb(k, positions);
    const double scaling = 1 / std::sqrt(static_cast<double>(head_dim));
    return dense(merge_heads(step.attend(q, k, v, {.scale = scaling})));
  }
};

struct MLP : Module<MLP> {
  static constexpr const char* kClass = "PhiMLP";
  Activation activation_fn;
  Linear fc1, fc2;

  MLP(const Scope& s, const PhiConfig& c)
      : Module(s),
        activation_fn(s / "activation_fn", c.hidden_act),
        fc1(s / "fc1", c.hidden_size, c.intermediate_size, Bias::kYes),
        fc2(s / "fc2", c.intermediate_size, c.hidden_size, Bias::kYes) {}

  Value forward(const Value& x) const { return fc2(activation_fn(fc1(x))); }
};

struct DecoderLayer : Module<DecoderLayer> {
  static constexpr const char* kClass = "PhiDecoderLayer";
  Attention self_attn;
  MLP mlp;
  LayerNorm input_layernorm;
  Dropout resid_dropout;

  DecoderLayer(const Scope& s, const PhiConfig& c)
      : Module(s),
        self_attn(s / "self_attn", c),
        mlp(s / "mlp", c),
        input_layernorm(s / "input_layernorm", c.hidden_size, c.layer_norm_eps),
        resid_dropout(s / "resid_dropout") {}

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    const Value normed = input_layernorm(x);
    const Value attn_outputs = resid_dropout(self_attn(step, normed, positions));
    const Value feed_forward = resid_dropout(mlp(normed));
    return attn_outputs + feed_forward + x;
  }
};

struct PhiModel : Module<PhiModel> {
  static constexpr const char* kClass = "PhiModel";
  Embedding embed_tokens;
  Layers<DecoderLayer> layers;
  RotaryEmbedding rotary_emb;
  Dropout embed_dropout;
  LayerNorm final_layernorm;

  PhiModel(const Scope& s, const PhiConfig& c)
      : Module(s),
        embed_tokens(s / "embed_tokens", c.vocab_size, c.hidden_size),
        layers(c.num_hidden_layers, [&](int64_t i) { return DecoderLayer(s / "layers" / i, c); }),
        rotary_emb(s / "rotary_emb", c.rope),
        embed_dropout(s / "embed_dropout"),
        final_layernorm(s / "final_layernorm", c.hidden_size, c.layer_norm_eps) {}

  Value forward(const Step& step, const Value& input_ids) const {
    Value x = embed_dropout(embed_tokens(input_ids));
    const PositionEmbeddings positions = rotary_emb(step.position_ids());
    for (const DecoderLayer& layer : layers) x = layer(step, x, positions);
    return final_layernorm(x);
  }
};

struct PhiForCausalLM : Module<PhiForCausalLM> {
  static constexpr const char* kClass = "PhiForCausalLM";
  PhiConfig config;
  PhiModel model;
  Linear lm_head;

  PhiForCausalLM(const Scope& s, const Config& c)
      : Module(s),
        config(c),
        model(s / "model", config),
        lm_head(config.tie_word_embeddings
                    ? Linear(s / "lm_head", model.embed_tokens)
                    : Linear(s / "lm_head", config.hidden_size, config.vocab_size)) {
    // Tied or not, the head has a bias of its own.
    lm_head.bias = (s / "lm_head").parameter("bias", {config.vocab_size});
    s.builder().drop("*rotary_emb.inv_freq", "a buffer: computed from config.json");
  }

  Value forward(const Step& step) const {
    const Value hidden = model(step, step.input_ids());
    return lm_head(step.logits_to_keep(hidden));
  }
};

}  // namespace lockstep::phi
