// OPT. Mirrors transformers models/opt/modeling_opt.py (5.x); member names are the reference's
// module names, so they bind the weights and name the taps.
#pragma once

#include <cmath>
#include <optional>

#include "lockstep/lockstep.h"

namespace lockstep::opt {

inline constexpr double kLayerNormEps = 1e-5;  // torch's: OPTConfig has no key for it

// The keys of OPTConfig that the computation reads, with OPTConfig's defaults.
struct OPTConfig {
  int64_t vocab_size, hidden_size, num_hidden_layers, ffn_dim, max_position_embeddings;
  int64_t word_embed_proj_dim, num_attention_heads;
  std::string activation_function;
  Bias enable_bias;
  bool do_layer_norm_before, remove_final_layer_norm, tie_word_embeddings;

  explicit OPTConfig(const Config& c)
      : vocab_size(c.size("vocab_size", 50272)),
        hidden_size(c.size("hidden_size", 768)),
        num_hidden_layers(c.layers("num_hidden_layers", 12)),
        ffn_dim(c.size("ffn_dim", 3072)),
        max_position_embeddings(c.size("max_position_embeddings", 2048)),
        word_embed_proj_dim(c.size("word_embed_proj_dim", hidden_size)),
        num_attention_heads(c.divisor("num_attention_heads", 12, hidden_size, "hidden_size")),
        activation_function(c.text("activation_function", "relu")),
        enable_bias(Bias{c.flag("enable_bias", true)}),
        do_layer_norm_before(c.flag("do_layer_norm_before", true)),
        remove_final_layer_norm(c.flag("_remove_final_layer_norm", false)),
        tie_word_embeddings(c.flag("tie_word_embeddings", true)) {
    if (!c.flag("layer_norm_elementwise_affine", true)) {
      throw Error(ErrorCode::kUnimplemented,
                  c.where("layer_norm_elementwise_affine") + ": expected true, found false",
                  "this build has no norms without a weight");
    }
  }
};

// The stored table begins with two rows that no position reads.
struct LearnedPositionalEmbedding : Module<LearnedPositionalEmbedding> {
  static constexpr const char* kClass = "OPTLearnedPositionalEmbedding";
  static constexpr int64_t kOffset = 2;
  Value weight;

  LearnedPositionalEmbedding(const Scope& s, int64_t num_embeddings, int64_t embedding_dim)
      : Module(s),
        weight(s.builder().parameter_of((s / "weight").path(), {num_embeddings, embedding_dim},
                                        {{(s / "weight").stored(), kOffset}})) {}

  Value forward(const Value& positions) const {
    return positions.builder().op("embedding", {positions, weight});
  }
};

struct Attention : Module<Attention> {
  static constexpr const char* kClass = "OPTAttention";
  int64_t head_dim;
  Linear k_proj, v_proj, q_proj, out_proj;

  Attention(const Scope& s, const OPTConfig& c)
      : Module(s),
        head_dim(c.hidden_size / c.num_attention_heads),
        k_proj(s / "k_proj", c.hidden_size, c.hidden_size, c.enable_bias),
        v_proj(s / "v_proj", c.hidden_size, c.hidden_size, c.enable_bias),
        q_proj(s / "q_proj", c.hidden_size, c.hidden_size, c.enable_bias),
        out_proj(s / "out_proj", c.hidden_size, c.hidden_size, c.enable_bias) {}

  Value forward(const Step& step, const Value& x) const {
    const double scaling = 1 / std::sqrt(static_cast<double>(head_dim));
    const Value q = split_heads(scale(q_proj(x), scaling), head_dim);
    const Value k = split_heads(k_proj(x), head_dim);
    const Value v = split_heads(v_proj(x), head_dim);
    return out_proj(merge_heads(step.attend(q, k, v, {.scale = 1.0})));
  }
};

struct DecoderLayer : Module<DecoderLayer> {
  static constexpr const char* kClass = "OPTDecoderLayer";
  bool do_layer_norm_before;
  Attention self_attn;
  Activation activation_fn;
  LayerNorm self_attn_layer_norm;
  Linear fc1, fc2;
  LayerNorm final_layer_norm;

  DecoderLayer(const Scope& s, const OPTConfig& c)
      : Module(s),
        do_layer_norm_before(c.do_layer_norm_before),
        self_attn(s / "self_attn", c),
        activation_fn(s / "activation_fn", c.activation_function),
        self_attn_layer_norm(s / "self_attn_layer_norm", c.hidden_size, kLayerNormEps),
        fc1(s / "fc1", c.hidden_size, c.ffn_dim, c.enable_bias),
        fc2(s / "fc2", c.ffn_dim, c.hidden_size, c.enable_bias),
        final_layer_norm(s / "final_layer_norm", c.hidden_size, kLayerNormEps) {}

  Value forward(const Step& step, const Value& x) const {
    if (do_layer_norm_before) {
      const Value attended = x + self_attn(step, self_attn_layer_norm(x));
      return attended + fc2(activation_fn(fc1(final_layer_norm(attended))));
    }
    const Value attended = self_attn_layer_norm(x + self_attn(step, x));
    return final_layer_norm(attended + fc2(activation_fn(fc1(attended))));
  }
};

struct Decoder : Module<Decoder> {
  static constexpr const char* kClass = "OPTDecoder";
  Embedding embed_tokens;
  LearnedPositionalEmbedding embed_positions;
  std::optional<Linear> project_out, project_in;
  std::optional<LayerNorm> final_layer_norm;
  Layers<DecoderLayer> layers;

  Decoder(const Scope& s, const OPTConfig& c)
      : Module(s),
        embed_tokens(s / "embed_tokens", c.vocab_size, c.word_embed_proj_dim),
        embed_positions(s / "embed_positions", c.max_position_embeddings, c.hidden_size),
        layers(c.num_hidden_layers, [&](int64_t i) { return DecoderLayer(s / "layers" / i, c); }) {
    if (c.word_embed_proj_dim != c.hidden_size) {
      project_out.emplace(s / "project_out", c.hidden_size, c.word_embed_proj_dim);
      project_in.emplace(s / "project_in", c.word_embed_proj_dim, c.hidden_size);
    }
    if (c.do_layer_norm_before && !c.remove_final_layer_norm) {
      final_layer_norm.emplace(s / "final_layer_norm", c.hidden_size, kLayerNormEps);
    }
  }

  Value forward(const Step& step, const Value& input_ids) const {
    const Value words = embed_tokens(input_ids);
    const Value places = embed_positions(step.position_ids());
    Value x = (project_in ? (*project_in)(words) : words) + places;
    for (const DecoderLayer& layer : layers) x = layer(step, x);
    if (final_layer_norm) x = (*final_layer_norm)(x);
    return project_out ? (*project_out)(x) : x;
  }
};

struct OPTModel : Module<OPTModel> {
  static constexpr const char* kClass = "OPTModel";
  Decoder decoder;

  OPTModel(const Scope& s, const OPTConfig& c) : Module(s), decoder(s / "decoder", c) {}
  Value forward(const Step& step, const Value& input_ids) const { return decoder(step, input_ids); }
};

struct OPTForCausalLM : Module<OPTForCausalLM> {
  static constexpr const char* kClass = "OPTForCausalLM";
  OPTConfig config;
  OPTModel model;
  Linear lm_head;

  OPTForCausalLM(const Scope& s, const Config& c)
      : Module(s),
        config(c),
        model(s / "model", config),
        lm_head(config.tie_word_embeddings
                    ? Linear(s / "lm_head", model.decoder.embed_tokens)
                    : Linear(s / "lm_head", config.word_embed_proj_dim, config.vocab_size)) {}

  Value forward(const Step& step) const {
    const Value hidden = model(step, step.input_ids());
    return lm_head(step.logits_to_keep(hidden));
  }
};

}  // namespace lockstep::opt
