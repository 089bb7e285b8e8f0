// Gemma 3, text. Mirrors transformers models/gemma3/modeling_gemma3.py (5.x); member names are the
// reference's module names, so they bind the weights and name the taps.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "lockstep/lockstep.h"

namespace lockstep::gemma3_text {

// Where layer_types are absent, every nth layer is global.
inline std::vector<int64_t> windows_of(const Config& c, int64_t n_layers, int64_t sliding_window) {
  const int64_t pattern = c.size("sliding_window_pattern", 6);
  return layer_windows(c, n_layers, sliding_window,
                       [&](int64_t i) { return (i + 1) % pattern != 0; });
}

inline RopeFrequencies local_rope_of(const Config& c, int64_t head_dim) {
  return rope_frequencies_of(c.at("rope_parameters").at("sliding_attention"), head_dim,
                             {.max_position_embeddings = 131072});
}

// The keys of older configs, where they are not resolved to an object a layer type, are the global
// layers' alone; one object for all under the newer key is nobody's.
inline RopeFrequencies global_rope_of(const Config& c, int64_t head_dim) {
  const Config rope = c.at("rope_parameters");
  const bool is_per_type = rope.has("sliding_attention") || rope.has("full_attention");
  const bool is_older = c.has("rope_theta") || c.has("rope_scaling");
  return rope_frequencies_of(is_older && !is_per_type ? rope : rope.at("full_attention"), head_dim,
                             {.theta = 1e6, .max_position_embeddings = 131072});
}

inline void expect_no_cap(const Config& c, const char* key) {
  if (!c.has(key)) return;
  throw Error(ErrorCode::kUnimplemented,
              c.where(key) + ": expected null, found " + std::to_string(c.number(key)),
              "this build has no soft caps for Gemma 3");
}

// The keys of Gemma3TextConfig that the computation reads, with Gemma3TextConfig's defaults.
struct Gemma3Config {
  int64_t vocab_size, hidden_size, intermediate_size, num_hidden_layers;
  int64_t num_attention_heads, num_key_value_heads, head_dim, sliding_window;
  double rms_norm_eps, query_pre_attn_scalar;
  std::string hidden_activation;
  Bias attention_bias;
  bool tie_word_embeddings;
  std::vector<int64_t> windows;  // 0: global
  RopeFrequencies local_rope, global_rope;

  explicit Gemma3Config(const Config& c)
      : vocab_size(c.size("vocab_size", 262208)),
        hidden_size(c.size("hidden_size", 2304)),
        intermediate_size(c.size("intermediate_size", 9216)),
        num_hidden_layers(c.layers("num_hidden_layers", 26)),
        num_attention_heads(c.size("num_attention_heads", 8)),
        num_key_value_heads(c.size("num_key_value_heads", 4)),
        head_dim(c.size("head_dim", 256)),
        sliding_window(c.size("sliding_window", 4096)),
        rms_norm_eps(c.positive("rms_norm_eps", 1e-6)),
        query_pre_attn_scalar(c.positive("query_pre_attn_scalar", 256)),
        hidden_activation(c.text("hidden_activation", "gelu_pytorch_tanh")),
        attention_bias(Bias{c.flag("attention_bias", false)}),
        tie_word_embeddings(c.flag("tie_word_embeddings", true)),
        windows(windows_of(c, num_hidden_layers, sliding_window)),
        local_rope(local_rope_of(c, head_dim)),
        global_rope(global_rope_of(c, head_dim)) {
    expect_no_cap(c, "final_logit_softcapping");
    expect_no_cap(c, "attn_logit_softcapping");
    expect_causal(c);
  }
};

// One module, called once a layer type.
struct Gemma3RotaryEmbedding : Module<Gemma3RotaryEmbedding> {
  static constexpr const char* kClass = "Gemma3RotaryEmbedding";
  explicit Gemma3RotaryEmbedding(const Scope& s) : Module(s) {}

  PositionEmbeddings forward(const Value& position_ids, const RopeFrequencies& rope) const {
    return rotary_tables(position_ids, rope);
  }
};

struct Attention : Module<Attention> {
  static constexpr const char* kClass = "Gemma3Attention";
  int64_t head_dim, window;
  double scaling;
  Linear q_proj, k_proj, v_proj, o_proj;
  UnitOffsetRMSNorm q_norm, k_norm;

  Attention(const Scope& s, const Gemma3Config& c, int64_t layer_window)
      : Module(s),
        head_dim(c.head_dim),
        window(layer_window),
        scaling(1 / std::sqrt(c.query_pre_attn_scalar)),
        q_proj(s / "q_proj", c.hidden_size, c.num_attention_heads * head_dim, c.attention_bias),
        k_proj(s / "k_proj", c.hidden_size, c.num_key_value_heads * head_dim, c.attention_bias),
        v_proj(s / "v_proj", c.hidden_size, c.num_key_value_heads * head_dim, c.attention_bias),
        o_proj(s / "o_proj", c.num_attention_heads * head_dim, c.hidden_size, c.attention_bias),
        q_norm(s / "q_norm", head_dim, c.rms_norm_eps),
        k_norm(s / "k_norm", head_dim, c.rms_norm_eps) {}

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    Value q = split_heads(q_proj(x), head_dim);
    Value k = split_heads(k_proj(x), head_dim);
    const Value v = split_heads(v_proj(x), head_dim);
    q = apply_rotary_pos_emb(q_norm(q), positions);
    k = apply_rotary_pos_emb(k_norm(k), positions);
    const Value context = step.attend(q, k, v, {.scale = scaling, .window = window});
    return o_proj(merge_heads(context));
  }
};

struct DecoderLayer : Module<DecoderLayer> {
  static constexpr const char* kClass = "Gemma3DecoderLayer";
  bool is_local;
  Attention self_attn;
  GatedMLP mlp;
  UnitOffsetRMSNorm input_layernorm, post_attention_layernorm;
  UnitOffsetRMSNorm pre_feedforward_layernorm, post_feedforward_layernorm;

  DecoderLayer(const Scope& s, const Gemma3Config& c, int64_t window)
      : Module(s),
        is_local(window != 0),
        self_attn(s / "self_attn", c, window),
        mlp(s / "mlp", c.hidden_size, c.intermediate_size, c.hidden_activation),
        input_layernorm(s / "input_layernorm", c.hidden_size, c.rms_norm_eps),
        post_attention_layernorm(s / "post_attention_layernorm", c.hidden_size, c.rms_norm_eps),
        pre_feedforward_layernorm(s / "pre_feedforward_layernorm", c.hidden_size, c.rms_norm_eps),
        post_feedforward_layernorm(s / "post_feedforward_layernorm", c.hidden_size,
                                   c.rms_norm_eps) {}

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    const Value context = self_attn(step, input_layernorm(x), positions);
    const Value attended = x + post_attention_layernorm(context);
    const Value fed = mlp(pre_feedforward_layernorm(attended));
    return attended + post_feedforward_layernorm(fed);
  }
};

struct Gemma3TextModel : Module<Gemma3TextModel> {
  static constexpr const char* kClass = "Gemma3TextModel";
  RopeFrequencies local_rope, global_rope;
  ScaledEmbedding embed_tokens;
  Layers<DecoderLayer> layers;
  UnitOffsetRMSNorm norm;
  Gemma3RotaryEmbedding rotary_emb;

  Gemma3TextModel(const Scope& s, const Gemma3Config& c)
      : Module(s),
        local_rope(c.local_rope),
        global_rope(c.global_rope),
        embed_tokens(s / "embed_tokens", c.vocab_size, c.hidden_size),
        layers(c.num_hidden_layers,
               [&](int64_t i) {
                 return DecoderLayer(s / "layers" / i, c, c.windows[static_cast<size_t>(i)]);
               }),
        norm(s / "norm", c.hidden_size, c.rms_norm_eps),
        rotary_emb(s / "rotary_emb") {}

  Value forward(const Step& step, const Value& input_ids) const {
    Value x = embed_tokens(input_ids);
    // Of the types in use alone, as in the reference, whose order is that of a set: any.
    PositionEmbeddings local, global;
    const auto is_local = [](const DecoderLayer& layer) { return layer.is_local; };
    if (std::any_of(layers.begin(), layers.end(), is_local)) {
      local = rotary_emb(step.position_ids(), local_rope);
    }
    if (!std::all_of(layers.begin(), layers.end(), is_local)) {
      global = rotary_emb(step.position_ids(), global_rope);
    }
    for (const DecoderLayer& layer : layers) {
      x = layer(step, x, layer.is_local ? local : global);
    }
    return norm(x);
  }
};

struct Gemma3 {
  static constexpr const char* kCausalLM = "Gemma3ForCausalLM";
  using Config = Gemma3Config;
  using Model = Gemma3TextModel;
};

using Gemma3ForCausalLM = CausalLM<Gemma3>;

}  // namespace lockstep::gemma3_text
