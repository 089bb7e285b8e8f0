// Falcon: attention and MLP side by side or not, one key head or groups of them, rotation or ALiBi.
// Mirrors transformers models/falcon/modeling_falcon.py (5.x); member names are the reference's
// module names, so they bind the weights and name the taps.
#pragma once

#include <cmath>
#include <optional>

#include "lockstep/lockstep.h"

namespace lockstep::falcon {

// The keys of FalconConfig that the computation reads, with FalconConfig's defaults.
struct FalconConfig {
  int64_t vocab_size, hidden_size, num_hidden_layers, num_attention_heads, head_dim;
  int64_t num_kv_heads, ffn_hidden_size;
  double norm_eps;
  std::string activation;
  bool alibi, new_decoder_architecture, multi_query, parallel_attn, tie_word_embeddings;
  Bias bias;
  int64_t num_ln_in_parallel_attn;
  RopeFrequencies rope;

  explicit FalconConfig(const Config& c)
      : vocab_size(c.size("vocab_size", 65024)),
        hidden_size(c.size(c.has("n_embed") ? "n_embed" : "hidden_size", 4544)),
        num_hidden_layers(c.layers("num_hidden_layers", 32)),
        num_attention_heads(c.size("num_attention_heads", 71)),
        head_dim(hidden_size / num_attention_heads),
        num_kv_heads(c.size("num_kv_heads", num_attention_heads)),
        ffn_hidden_size(c.size("ffn_hidden_size", 4 * hidden_size)),
        norm_eps(c.positive("layer_norm_epsilon", 1e-5)),
        activation(c.text("activation", "gelu")),
        alibi(c.flag("alibi", false)),
        new_decoder_architecture(c.flag("new_decoder_architecture", false)),
        multi_query(c.flag("multi_query", true)),
        parallel_attn(c.flag("parallel_attn", true)),
        tie_word_embeddings(c.flag("tie_word_embeddings", true)),
        bias(Bias{c.flag("bias", false)}),
        num_ln_in_parallel_attn(
            c.size("num_ln_in_parallel_attn", new_decoder_architecture ? 2 : 1, 1, 2)),
        rope(rope_frequencies(c, head_dim, {.max_position_embeddings = 2048})) {
    if (head_dim * num_attention_heads != hidden_size) {
      throw Error(ErrorCode::kInvalidArgument, c.where("num_attention_heads") +
                                                   ": expected a divisor of hidden_size " +
                                                   std::to_string(hidden_size) + ", found " +
                                                   std::to_string(num_attention_heads));
    }
    if (!new_decoder_architecture && multi_query) num_kv_heads = 1;
    if (!new_decoder_architecture && !multi_query) num_kv_heads = num_attention_heads;
    // The reference has no forward for these.
    if (new_decoder_architecture && !parallel_attn) {
      throw Error(ErrorCode::kInvalidArgument, c.where("parallel_attn") +
                                                   ": expected true with new_decoder_architecture, "
                                                   "found false");
    }
    if (!new_decoder_architecture && num_ln_in_parallel_attn == 2) {
      throw Error(ErrorCode::kInvalidArgument,
                  c.where("num_ln_in_parallel_attn") +
                      ": expected null or 1 without new_decoder_architecture, found 2");
    }
  }
};

struct Attention : Module<Attention> {
  static constexpr const char* kClass = "FalconAttention";
  int64_t head_dim, num_heads, num_kv_heads;
  Step::AttendOptions options;
  Linear query_key_value, dense;

  Attention(const Scope& s, const FalconConfig& c)
      : Module(s),
        head_dim(c.head_dim),
        num_heads(c.num_attention_heads),
        num_kv_heads(c.num_kv_heads),
        options{.scale = 1 / std::sqrt(static_cast<double>(head_dim))},
        query_key_value(s / "query_key_value", c.hidden_size,
                        (num_heads + 2 * num_kv_heads) * head_dim, c.bias),
        dense(s / "dense", c.hidden_size, c.hidden_size, c.bias) {
    if (!c.alibi) return;
    // Once, as the reference's default attention adds it; its eager attention adds it twice.
    options.alibi_slopes = alibi_slopes(num_heads);
    options.alibi_scale = options.scale;
    options.alibi_type = Step::AlibiType::kBFloat16;
  }

  // A key head's rows: its query heads, the key, the value.
  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    const int64_t q_width = num_heads / num_kv_heads * head_dim;
    const Value fused = split_heads(query_key_value(x), q_width + 2 * head_dim);
    Value q = split_heads(merge_heads(slice(fused, 0, q_width)), head_dim);
    Value k = slice(fused, q_width, q_width + head_dim);
    const Value v = slice(fused, q_width + head_dim, q_width + 2 * head_dim);
    if (options.alibi_slopes.empty()) {
      q = apply_rotary_pos_emb(q, positions);
      k = apply_rotary_pos_emb(k, positions);
    }
    return dense(merge_heads(step.attend(q, k, v, options)));
  }
};

struct MLP : Module<MLP> {
  static constexpr const char* kClass = "FalconMLP";
  Linear dense_h_to_4h, dense_4h_to_h;
  Activation act;

  MLP(const Scope& s, const FalconConfig& c)
      : Module(s),
        dense_h_to_4h(s / "dense_h_to_4h", c.hidden_size, c.ffn_hidden_size, c.bias),
        dense_4h_to_h(s / "dense_4h_to_h", c.ffn_hidden_size, c.hidden_size, c.bias),
        act(s / "act", c.activation) {}

  Value forward(const Value& x) const { return dense_4h_to_h(act(dense_h_to_4h(x))); }
};

struct DecoderLayer : Module<DecoderLayer> {
  static constexpr const char* kClass = "FalconDecoderLayer";
  Attention self_attention;
  MLP mlp;
  // One norm for both blocks; or one each (ln_*); or one after the other (post_attention_*).
  std::optional<LayerNorm> input_layernorm, ln_attn, ln_mlp, post_attention_layernorm;

  DecoderLayer(const Scope& s, const FalconConfig& c)
      : Module(s), self_attention(s / "self_attention", c), mlp(s / "mlp", c) {
    const auto norm = [&](const char* name) {
      return LayerNorm(s / name, c.hidden_size, c.norm_eps);
    };
    if (c.num_ln_in_parallel_attn == 2) {
      ln_attn = norm("ln_attn");
      ln_mlp = norm("ln_mlp");
      return;
    }
    input_layernorm = norm("input_layernorm");
    if (!c.parallel_attn) post_attention_layernorm = norm("post_attention_layernorm");
  }

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    const Value for_attention = ln_attn ? (*ln_attn)(x) : (*input_layernorm)(x);
    const Value for_mlp = ln_mlp ? (*ln_mlp)(x) : for_attention;
    const Value attended = self_attention(step, for_attention, positions);
    if (post_attention_layernorm) {
      const Value residual = x + attended;
      return residual + mlp((*post_attention_layernorm)(residual));
    }
    return x + (mlp(for_mlp) + attended);
  }
};

struct FalconModel : Module<FalconModel> {
  static constexpr const char* kClass = "FalconModel";
  Embedding word_embeddings;
  Layers<DecoderLayer> h;
  LayerNorm ln_f;
  RotaryEmbedding rotary_emb;

  FalconModel(const Scope& s, const FalconConfig& c)
      : Module(s),
        word_embeddings(s / "word_embeddings", c.vocab_size, c.hidden_size),
        h(c.num_hidden_layers, [&](int64_t i) { return DecoderLayer(s / "h" / i, c); }),
        ln_f(s / "ln_f", c.hidden_size, c.norm_eps),
        rotary_emb(s / "rotary_emb", c.rope) {}

  Value forward(const Step& step, const Value& input_ids) const {
    Value x = word_embeddings(input_ids);
    const PositionEmbeddings positions = rotary_emb(step.position_ids());
    for (const DecoderLayer& layer : h) x = layer(step, x, positions);
    return ln_f(x);
  }
};

struct FalconForCausalLM : Module<FalconForCausalLM> {
  static constexpr const char* kClass = "FalconForCausalLM";
  FalconConfig config;
  FalconModel transformer;
  Linear lm_head;

  FalconForCausalLM(const Scope& s, const Config& c)
      : Module(s),
        config(c),
        transformer(s / "transformer", config),
        lm_head(config.tie_word_embeddings
                    ? Linear(s / "lm_head", transformer.word_embeddings)
                    : Linear(s / "lm_head", config.hidden_size, config.vocab_size)) {
    s.builder().drop("*rotary_emb.inv_freq", "a buffer: computed from config.json");
    s.builder().drop("*maybe_rotary.inv_freq", "a buffer: computed from config.json");
  }

  Value forward(const Step& step) const {
    const Value hidden = transformer(step, step.input_ids());
    return lm_head(step.logits_to_keep(hidden));
  }
};

}  // namespace lockstep::falcon
