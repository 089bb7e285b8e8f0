// BLOOM: ALiBi, a norm of the embeddings, fused heads. Mirrors transformers
// models/bloom/modeling_bloom.py (5.x); member names are the reference's module names, so they bind
// the weights and name the taps.
#pragma once

#include <cmath>

#include "lockstep/lockstep.h"

namespace lockstep::bloom {

// The class knows some keys under two names.
inline int64_t either(const Config& c, const char* name, const char* other, int64_t fallback) {
  return c.size(c.has(other) ? other : name, fallback);
}

// The keys of BloomConfig that the computation reads, with BloomConfig's defaults.
struct BloomConfig {
  int64_t vocab_size, hidden_size, n_layer, n_head, head_dim;
  double layer_norm_epsilon;
  bool apply_residual_connection_post_layernorm, tie_word_embeddings;

  explicit BloomConfig(const Config& c)
      : vocab_size(c.size("vocab_size", 250880)),
        hidden_size(either(c, "hidden_size", "n_embed", 64)),
        n_layer(c.layers(c.has("num_hidden_layers") ? "num_hidden_layers" : "n_layer", 2)),
        n_head(either(c, "n_head", "num_attention_heads", 8)),
        head_dim(hidden_size / n_head),
        layer_norm_epsilon(c.positive("layer_norm_epsilon", 1e-5)),
        apply_residual_connection_post_layernorm(
            c.flag("apply_residual_connection_post_layernorm", false)),
        tie_word_embeddings(c.flag("tie_word_embeddings", true)) {
    if (head_dim * n_head != hidden_size) {
      throw Error(ErrorCode::kInvalidArgument,
                  c.where("n_head") + ": expected a divisor of hidden_size " +
                      std::to_string(hidden_size) + ", found " + std::to_string(n_head));
    }
    // With it the reference leaves out the biases of what it sums in parts.
    if (c.flag("slow_but_exact", false) && c.size("pretraining_tp", 1) > 1) {
      throw Error(ErrorCode::kUnimplemented, c.where("slow_but_exact") +
                                                 ": expected false with pretraining_tp above 1, "
                                                 "found true");
    }
  }
};

struct Attention : Module<Attention> {
  static constexpr const char* kClass = "BloomAttention";
  int64_t head_dim;
  Step::AttendOptions options;
  Linear query_key_value, dense;

  Attention(const Scope& s, const BloomConfig& c)
      : Module(s),
        head_dim(c.head_dim),
        options{.scale = 1 / std::sqrt(static_cast<double>(head_dim)),
                .alibi_slopes = alibi_slopes(c.n_head)},
        query_key_value(s / "query_key_value", c.hidden_size, 3 * c.hidden_size, Bias::kYes),
        dense(s / "dense", c.hidden_size, c.hidden_size, Bias::kYes) {}

  Value forward(const Step& step, const Value& x, const Value& residual) const {
    const Value fused = split_heads(query_key_value(x), 3 * head_dim);
    const Value q = slice(fused, 0, head_dim);
    const Value k = slice(fused, head_dim, 2 * head_dim);
    const Value v = slice(fused, 2 * head_dim, 3 * head_dim);
    const Value context = merge_heads(step.attend(q, k, v, options));
    return residual + dense(context);
  }
};

struct MLP : Module<MLP> {
  static constexpr const char* kClass = "BloomMLP";
  Linear dense_h_to_4h, dense_4h_to_h;
  Activation gelu_impl;

  MLP(const Scope& s, const BloomConfig& c)
      : Module(s),
        dense_h_to_4h(s / "dense_h_to_4h", c.hidden_size, 4 * c.hidden_size, Bias::kYes),
        dense_4h_to_h(s / "dense_4h_to_h", 4 * c.hidden_size, c.hidden_size, Bias::kYes),
        gelu_impl(s / "gelu_impl", "gelu_pytorch_tanh") {}

  Value forward(const Value& x, const Value& residual) const {
    return residual + dense_4h_to_h(gelu_impl(dense_h_to_4h(x)));
  }
};

struct Block : Module<Block> {
  static constexpr const char* kClass = "BloomBlock";
  LayerNorm input_layernorm, post_attention_layernorm;
  Attention self_attention;
  MLP mlp;
  bool residual_is_normed;

  Block(const Scope& s, const BloomConfig& c)
      : Module(s),
        input_layernorm(s / "input_layernorm", c.hidden_size, c.layer_norm_epsilon),
        post_attention_layernorm(s / "post_attention_layernorm", c.hidden_size,
                                 c.layer_norm_epsilon),
        self_attention(s / "self_attention", c),
        mlp(s / "mlp", c),
        residual_is_normed(c.apply_residual_connection_post_layernorm) {}

  Value forward(const Step& step, const Value& x) const {
    const Value normed = input_layernorm(x);
    const Value attended = self_attention(step, normed, residual_is_normed ? normed : x);
    const Value again = post_attention_layernorm(attended);
    return mlp(again, residual_is_normed ? again : attended);
  }
};

struct BloomModel : Module<BloomModel> {
  static constexpr const char* kClass = "BloomModel";
  Embedding word_embeddings;
  LayerNorm word_embeddings_layernorm;
  Layers<Block> h;
  LayerNorm ln_f;

  BloomModel(const Scope& s, const BloomConfig& c)
      : Module(s),
        word_embeddings(s / "word_embeddings", c.vocab_size, c.hidden_size),
        word_embeddings_layernorm(s / "word_embeddings_layernorm", c.hidden_size,
                                  c.layer_norm_epsilon),
        h(c.n_layer, [&](int64_t i) { return Block(s / "h" / i, c); }),
        ln_f(s / "ln_f", c.hidden_size, c.layer_norm_epsilon) {}

  Value forward(const Step& step, const Value& input_ids) const {
    const Value words = word_embeddings(input_ids);
    Value x = word_embeddings_layernorm(words);
    for (const Block& block : h) x = block(step, x);
    return ln_f(x);
  }
};

struct BloomForCausalLM : Module<BloomForCausalLM> {
  static constexpr const char* kClass = "BloomForCausalLM";
  BloomConfig config;
  BloomModel transformer;
  Linear lm_head;

  BloomForCausalLM(const Scope& s, const Config& c)
      : Module(s),
        config(c),
        transformer(s / "transformer", config),
        lm_head(config.tie_word_embeddings
                    ? Linear(s / "lm_head", transformer.word_embeddings)
                    : Linear(s / "lm_head", config.hidden_size, config.vocab_size)) {}

  Value forward(const Step& step) const {
    const Value hidden = transformer(step, step.input_ids());
    return lm_head(step.logits_to_keep(hidden));
  }
};

}  // namespace lockstep::bloom
