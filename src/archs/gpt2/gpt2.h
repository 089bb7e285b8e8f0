// GPT-2. Mirrors transformers models/gpt2/modeling_gpt2.py (5.x); member names are the reference's
// module names, so they bind the weights and name the taps.
#pragma once

#include <cmath>

#include "lockstep/lockstep.h"

namespace lockstep::gpt2 {

// The keys of GPT2Config that the computation reads, with GPT2Config's defaults.
struct GPT2Config {
  int64_t vocab_size, n_positions, n_embd, n_layer, n_head, n_inner;
  std::string activation_function;
  double layer_norm_epsilon;
  bool scale_attn_weights, scale_attn_by_inverse_layer_idx, tie_word_embeddings;

  explicit GPT2Config(const Config& c)
      : vocab_size(c.size("vocab_size", 50257)),
        n_positions(c.size("n_positions", 1024)),
        n_embd(c.size("n_embd", 768)),
        n_layer(c.layers("n_layer", 12)),
        n_head(c.divisor("n_head", 12, n_embd, "n_embd")),
        n_inner(c.size("n_inner", 4 * n_embd)),
        activation_function(c.text("activation_function", "gelu_new")),
        layer_norm_epsilon(c.positive("layer_norm_epsilon", 1e-5)),
        scale_attn_weights(c.flag("scale_attn_weights", true)),
        scale_attn_by_inverse_layer_idx(c.flag("scale_attn_by_inverse_layer_idx", false)),
        tie_word_embeddings(c.flag("tie_word_embeddings", true)) {
    // Scores are float32 here with and without it.
    (void)c.flag("reorder_and_upcast_attn", false);
    if (c.flag("add_cross_attention", false)) {
      throw Error(ErrorCode::kUnimplemented,
                  c.where("add_cross_attention") + ": expected false, found true",
                  "this build runs decoders alone");
    }
  }
};

// A linear layer whose weight is stored [in, out].
struct Conv1D : Module<Conv1D> {
  static constexpr const char* kClass = "Conv1D";
  Value weight, bias;

  Conv1D(const Scope& s, int64_t out_features, int64_t in_features)
      : Module(s),
        weight(
            s.builder().parameter_of((s / "weight").path(), {out_features, in_features},
                                     {{(s / "weight").stored(), 0, 0, Part::Order::kTransposed}})),
        bias(s.parameter("bias", {out_features})) {}

  Value forward(const Value& x) const { return x.builder().op("linear", {x, weight, bias}); }
};

struct Attention : Module<Attention> {
  static constexpr const char* kClass = "GPT2Attention";
  int64_t n_embd, head_dim;
  double scaling;
  Conv1D c_attn, c_proj;
  Dropout resid_dropout;

  Attention(const Scope& s, const GPT2Config& c, int64_t layer_idx)
      : Module(s),
        n_embd(c.n_embd),
        head_dim(c.n_embd / c.n_head),
        scaling(c.scale_attn_weights ? 1 / std::sqrt(static_cast<double>(head_dim)) : 1.0),
        c_attn(s / "c_attn", 3 * c.n_embd, c.n_embd),
        c_proj(s / "c_proj", c.n_embd, c.n_embd),
        resid_dropout(s / "resid_dropout") {
    if (c.scale_attn_by_inverse_layer_idx) scaling /= static_cast<double>(layer_idx + 1);
  }

  Value forward(const Step& step, const Value& x) const {
    const Value qkv = c_attn(x);
    const Value q = split_heads(slice(qkv, 0, n_embd), head_dim);
    const Value k = split_heads(slice(qkv, n_embd, 2 * n_embd), head_dim);
    const Value v = split_heads(slice(qkv, 2 * n_embd, 3 * n_embd), head_dim);
    const Value context = merge_heads(step.attend(q, k, v, {.scale = scaling}));
    return resid_dropout(c_proj(context));
  }
};

struct MLP : Module<MLP> {
  static constexpr const char* kClass = "GPT2MLP";
  Conv1D c_fc, c_proj;
  Activation act;
  Dropout dropout;

  MLP(const Scope& s, const GPT2Config& c)
      : Module(s),
        c_fc(s / "c_fc", c.n_inner, c.n_embd),
        c_proj(s / "c_proj", c.n_embd, c.n_inner),
        act(s / "act", c.activation_function),
        dropout(s / "dropout") {}

  Value forward(const Value& x) const { return dropout(c_proj(act(c_fc(x)))); }
};

struct Block : Module<Block> {
  static constexpr const char* kClass = "GPT2Block";
  LayerNorm ln_1, ln_2;
  Attention attn;
  MLP mlp;

  Block(const Scope& s, const GPT2Config& c, int64_t layer_idx)
      : Module(s),
        ln_1(s / "ln_1", c.n_embd, c.layer_norm_epsilon),
        ln_2(s / "ln_2", c.n_embd, c.layer_norm_epsilon),
        attn(s / "attn", c, layer_idx),
        mlp(s / "mlp", c) {}

  Value forward(const Step& step, const Value& x) const {
    const Value attended = attn(step, ln_1(x)) + x;
    return attended + mlp(ln_2(attended));
  }
};

struct GPT2Model : Module<GPT2Model> {
  static constexpr const char* kClass = "GPT2Model";
  Embedding wte, wpe;
  Dropout drop;
  Layers<Block> h;
  LayerNorm ln_f;

  GPT2Model(const Scope& s, const GPT2Config& c)
      : Module(s),
        wte(s / "wte", c.vocab_size, c.n_embd),
        wpe(s / "wpe", c.n_positions, c.n_embd),
        drop(s / "drop"),
        h(c.n_layer, [&](int64_t i) { return Block(s / "h" / i, c, i); }),
        ln_f(s / "ln_f", c.n_embd, c.layer_norm_epsilon) {}

  Value forward(const Step& step, const Value& input_ids) const {
    const Value words = wte(input_ids);
    const Value places = wpe(step.position_ids());
    Value x = drop(words + places);
    for (const Block& block : h) x = block(step, x);
    return ln_f(x);
  }
};

struct GPT2LMHeadModel : Module<GPT2LMHeadModel> {
  static constexpr const char* kClass = "GPT2LMHeadModel";
  GPT2Config config;
  GPT2Model transformer;
  Linear lm_head;

  GPT2LMHeadModel(const Scope& s, const Config& c)
      : Module(s),
        config(c),
        transformer(s / "transformer", config),
        lm_head(config.tie_word_embeddings
                    ? Linear(s / "lm_head", transformer.wte)
                    : Linear(s / "lm_head", config.n_embd, config.vocab_size)) {
    s.builder().drop("*.attn.bias", "a buffer: the causal mask");
    s.builder().drop("*.attn.masked_bias", "a buffer: what masked scores were set to");
  }

  Value forward(const Step& step) const {
    const Value hidden = transformer(step, step.input_ids());
    return lm_head(step.logits_to_keep(hidden));
  }
};

}  // namespace lockstep::gpt2
