// GPT-NeoX and Pythia. Mirrors transformers models/gpt_neox/modeling_gpt_neox.py (5.x), whose head
// is `lm_head` where checkpoints say `embed_out`.
#pragma once

#include <cmath>

#include "lockstep/lockstep.h"

namespace lockstep::gpt_neox {

// The keys of GPTNeoXConfig that the computation reads, with GPTNeoXConfig's defaults.
struct GPTNeoXConfig {
  int64_t vocab_size, hidden_size, num_hidden_layers, num_attention_heads, intermediate_size;
  int64_t head_size;
  std::string hidden_act;
  double layer_norm_eps;
  Bias attention_bias;
  bool use_parallel_residual, tie_word_embeddings;
  RopeFrequencies rope;

  explicit GPTNeoXConfig(const Config& c)
      : vocab_size(c.size("vocab_size", 50432)),
        hidden_size(c.size("hidden_size", 6144)),
        num_hidden_layers(c.layers("num_hidden_layers", 44)),
        num_attention_heads(c.divisor("num_attention_heads", 64, hidden_size, "hidden_size")),
        intermediate_size(c.size("intermediate_size", 24576)),
        head_size(hidden_size / num_attention_heads),
        hidden_act(c.text("hidden_act", "gelu")),
        layer_norm_eps(c.positive("layer_norm_eps", 1e-5)),
        attention_bias(Bias{c.flag("attention_bias", true)}),
        use_parallel_residual(c.flag("use_parallel_residual", true)),
        tie_word_embeddings(c.flag("tie_word_embeddings", false)),
        rope(rope_frequencies(c, partial_rotary_dim(c, head_size, 0.25), 10000.0)) {}
};

struct MLP : Module<MLP> {
  static constexpr const char* kClass = "GPTNeoXMLP";
  Linear dense_h_to_4h, dense_4h_to_h;
  Activation act;

  MLP(const Scope& s, const GPTNeoXConfig& c)
      : Module(s),
        dense_h_to_4h(s / "dense_h_to_4h", c.hidden_size, c.intermediate_size, Bias::kYes),
        dense_4h_to_h(s / "dense_4h_to_h", c.intermediate_size, c.hidden_size, Bias::kYes),
        act(s / "act", c.hidden_act) {}

  Value forward(const Value& x) const { return dense_4h_to_h(act(dense_h_to_4h(x))); }
};

struct Attention : Module<Attention> {
  static constexpr const char* kClass = "GPTNeoXAttention";
  int64_t head_size;
  Linear query_key_value, dense;

  Attention(const Scope& s, const GPTNeoXConfig& c)
      : Module(s),
        head_size(c.head_size),
        query_key_value(s / "query_key_value", c.hidden_size, 3 * c.hidden_size, c.attention_bias),
        dense(s / "dense", c.hidden_size, c.hidden_size, c.attention_bias) {}

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    // Head by head: its query, its key, its value.
    const Value qkv = split_heads(query_key_value(x), 3 * head_size);
    const Value q = apply_rotary_pos_emb(slice(qkv, 0, head_size), positions);
    const Value k = apply_rotary_pos_emb(slice(qkv, head_size, 2 * head_size), positions);
    const Value v = slice(qkv, 2 * head_size, 3 * head_size);
    const double scaling = 1 / std::sqrt(static_cast<double>(head_size));
    return dense(merge_heads(step.attend(q, k, v, {.scale = scaling})));
  }
};

struct Layer : Module<Layer> {
  static constexpr const char* kClass = "GPTNeoXLayer";
  bool use_parallel_residual;
  LayerNorm input_layernorm, post_attention_layernorm;
  Dropout post_attention_dropout, post_mlp_dropout;
  Attention attention;
  MLP mlp;

  Layer(const Scope& s, const GPTNeoXConfig& c)
      : Module(s),
        use_parallel_residual(c.use_parallel_residual),
        input_layernorm(s / "input_layernorm", c.hidden_size, c.layer_norm_eps),
        post_attention_layernorm(s / "post_attention_layernorm", c.hidden_size, c.layer_norm_eps),
        post_attention_dropout(s / "post_attention_dropout"),
        post_mlp_dropout(s / "post_mlp_dropout"),
        attention(s / "attention", c),
        mlp(s / "mlp", c) {}

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    const Value attended = attention(step, input_layernorm(x), positions);
    const Value attn_output = post_attention_dropout(attended);
    if (use_parallel_residual) {
      const Value mlp_output = post_mlp_dropout(mlp(post_attention_layernorm(x)));
      return mlp_output + attn_output + x;
    }
    const Value residual = attn_output + x;
    return post_mlp_dropout(mlp(post_attention_layernorm(residual))) + residual;
  }
};

struct GPTNeoXModel : Module<GPTNeoXModel> {
  static constexpr const char* kClass = "GPTNeoXModel";
  Embedding embed_in;
  Dropout emb_dropout;
  Layers<Layer> layers;
  LayerNorm final_layer_norm;
  RotaryEmbedding rotary_emb;

  GPTNeoXModel(const Scope& s, const GPTNeoXConfig& c)
      : Module(s),
        embed_in(s / "embed_in", c.vocab_size, c.hidden_size),
        emb_dropout(s / "emb_dropout"),
        layers(c.num_hidden_layers, [&](int64_t i) { return Layer(s / "layers" / i, c); }),
        final_layer_norm(s / "final_layer_norm", c.hidden_size, c.layer_norm_eps),
        rotary_emb(s / "rotary_emb", c.rope) {}

  Value forward(const Step& step, const Value& input_ids) const {
    Value x = emb_dropout(embed_in(input_ids));
    const PositionEmbeddings positions = rotary_emb(step.position_ids());
    for (const Layer& layer : layers) x = layer(step, x, positions);
    return final_layer_norm(x);
  }
};

struct GPTNeoXForCausalLM : Module<GPTNeoXForCausalLM> {
  static constexpr const char* kClass = "GPTNeoXForCausalLM";
  GPTNeoXConfig config;
  GPTNeoXModel gpt_neox;
  Linear lm_head;

  GPTNeoXForCausalLM(const Scope& s, const Config& c)
      : Module(s),
        config(c),
        gpt_neox(s / "gpt_neox", config),
        lm_head(config.tie_word_embeddings
                    ? Linear(s / "lm_head", gpt_neox.embed_in)
                    : Linear(s.at("lm_head", "embed_out"), config.hidden_size, config.vocab_size)) {
    s.builder().drop("*rotary_emb.inv_freq", "a buffer: computed from config.json");
    s.builder().drop("*.attention.bias", "a buffer: the causal mask");
    s.builder().drop("*.attention.masked_bias", "a buffer: what masked scores were set to");
  }

  Value forward(const Step& step) const {
    const Value hidden = gpt_neox(step, step.input_ids());
    return lm_head(step.logits_to_keep(hidden));
  }
};

}  // namespace lockstep::gpt_neox
