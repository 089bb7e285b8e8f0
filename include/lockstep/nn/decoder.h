// What most decoders have in common with Llama, for families to compose: the usual keys of their
// config classes, the projections of attention, the layer with a norm before each block, the
// stack, and the head. A family that wires one of them otherwise has its own in its folder.
//
//   struct Mistral {                                   // a family: names and parts
//     static constexpr const char* kCausalLM = "MistralForCausalLM";
//     static constexpr const char* kModel = "MistralModel";
//     static constexpr const char* kLayer = "MistralDecoderLayer";
//     using Config = MistralConfig;                    // a DecoderConfig with norm_eps and rope
//     using Norm = RMSNorm;                            // Norm(scope, width, eps)
//     using Attention = ...;                           // (scope, config, layer), (step, x, tables)
//     using MLP = GatedMLP;                            // MLP(scope, config[, layer])
//     using Layer = PreNormLayer<Mistral>;             // (scope, config, layer), (step, x, tables)
//   };
#pragma once

#include <cmath>
#include <type_traits>
#include <utility>
#include <variant>

#include "lockstep/module.h"
#include "lockstep/nn/decoder_config.h"
#include "lockstep/nn/linear.h"
#include "lockstep/nn/rope.h"
#include "lockstep/step.h"

namespace lockstep {

/// What most references multiply scores with: 1 / sqrt(head_dim).
inline double head_scaling(int64_t head_dim) {
  return 1 / std::sqrt(static_cast<double>(head_dim));
}

/// Base of an attention block with four projections under Llama's names.
template <class Derived>
struct ProjectedAttention : Module<Derived> {
  int64_t head_dim;
  Linear q_proj, k_proj, v_proj, o_proj;

  ProjectedAttention(const Scope& s, const DecoderConfig& c, Bias qkv_bias = Bias::kNo,
                     Bias o_bias = Bias::kNo)
      : Module<Derived>(s),
        head_dim(c.head_dim),
        q_proj(s / "q_proj", c.hidden_size, c.num_attention_heads * head_dim, qkv_bias),
        k_proj(s / "k_proj", c.hidden_size, c.num_key_value_heads * head_dim, qkv_bias),
        v_proj(s / "v_proj", c.hidden_size, c.num_key_value_heads * head_dim, qkv_bias),
        o_proj(s / "o_proj", c.num_attention_heads * head_dim, c.hidden_size, o_bias) {}

  double scaling() const { return head_scaling(head_dim); }
};

/// As LlamaAttention: q and k are rotated, `options` says how they attend.
template <class Derived>
struct RotaryAttention : ProjectedAttention<Derived> {
  Step::AttendOptions options;

  RotaryAttention(const Scope& s, const DecoderConfig& c, Step::AttendOptions attend_options,
                  Bias qkv_bias = Bias::kNo, Bias o_bias = Bias::kNo)
      : ProjectedAttention<Derived>(s, c, qkv_bias, o_bias), options(std::move(attend_options)) {}

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    Value q = split_heads(this->q_proj(x), this->head_dim);
    Value k = split_heads(this->k_proj(x), this->head_dim);
    const Value v = split_heads(this->v_proj(x), this->head_dim);
    q = apply_rotary_pos_emb(q, positions);
    k = apply_rotary_pos_emb(k, positions);
    return this->o_proj(merge_heads(step.attend(q, k, v, options)));
  }
};

/// The same with a norm of each head before the rotation, as Qwen3Attention.
template <class Derived, class Norm>
struct HeadNormAttention : ProjectedAttention<Derived> {
  Step::AttendOptions options;
  Norm q_norm, k_norm;

  template <class C>
  HeadNormAttention(const Scope& s, const C& c, int64_t window)
      : ProjectedAttention<Derived>(s, c, c.attention_bias, c.attention_bias),
        options{.scale = head_scaling(c.head_dim), .window = window},
        q_norm(s / "q_norm", c.head_dim, c.norm_eps),
        k_norm(s / "k_norm", c.head_dim, c.norm_eps) {}

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    Value q = q_norm(split_heads(this->q_proj(x), this->head_dim));
    Value k = k_norm(split_heads(this->k_proj(x), this->head_dim));
    const Value v = split_heads(this->v_proj(x), this->head_dim);
    q = apply_rotary_pos_emb(q, positions);
    k = apply_rotary_pos_emb(k, positions);
    return this->o_proj(merge_heads(step.attend(q, k, v, options)));
  }
};

/// Attention whose queries and keys are normed before they are split into heads, as Olmo2Attention.
template <class Derived, class Norm>
struct WideNormAttention : ProjectedAttention<Derived> {
  Norm q_norm, k_norm;

  template <class C>
  WideNormAttention(const Scope& s, const C& c, int64_t /*layer_idx*/)
      : ProjectedAttention<Derived>(s, c, c.attention_bias, c.attention_bias),
        q_norm(s / "q_norm", c.num_attention_heads * c.head_dim, c.norm_eps),
        k_norm(s / "k_norm", c.num_key_value_heads * c.head_dim, c.norm_eps) {}

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    Value q = split_heads(q_norm(this->q_proj(x)), this->head_dim);
    Value k = split_heads(k_norm(this->k_proj(x)), this->head_dim);
    const Value v = split_heads(this->v_proj(x), this->head_dim);
    q = apply_rotary_pos_emb(q, positions);
    k = apply_rotary_pos_emb(k, positions);
    return this->o_proj(merge_heads(step.attend(q, k, v, {.scale = this->scaling()})));
  }
};

/// One of two blocks, as a config says layer by layer. Not a module: it has no path of its own.
template <class A, class B>
struct EitherBlock {
  std::variant<A, B> block;
  Value operator()(const Value& x) const {
    return std::visit([&](const auto& chosen) { return chosen(x); }, block);
  }
};

/// One MLP in the first `first_k_dense_replace` layers, experts in the others, as DeepSeek-V2.
template <class Dense, class Sparse>
struct DenseThenSparse : EitherBlock<Dense, Sparse> {
  template <class C>
  DenseThenSparse(const Scope& s, const C& c, int64_t layer_idx)
      : EitherBlock<Dense, Sparse>{layer_idx < c.first_k_dense_replace
                                       ? std::variant<Dense, Sparse>(Dense(s, c))
                                       : Sparse(s, c)} {}
};

/// A layer's MLP; the families that have several kinds take the layer's number as well.
template <class MLP, class C>
MLP mlp_of(const Scope& s, const C& c, int64_t layer_idx) {
  if constexpr (std::is_constructible_v<MLP, Scope, C, int64_t>) {
    return MLP(s, c, layer_idx);
  } else {
    return MLP(s, c);
  }
}

/// As LlamaDecoderLayer: a norm before attention, and one before the MLP.
template <class Family>
struct PreNormLayer : Module<PreNormLayer<Family>> {
  static constexpr const char* kClass = Family::kLayer;
  typename Family::Attention self_attn;
  typename Family::MLP mlp;
  typename Family::Norm input_layernorm, post_attention_layernorm;

  PreNormLayer(const Scope& s, const typename Family::Config& c, int64_t layer_idx)
      : Module<PreNormLayer>(s),
        self_attn(s / "self_attn", c, layer_idx),
        mlp(mlp_of<typename Family::MLP>(s / "mlp", c, layer_idx)),
        input_layernorm(s / "input_layernorm", c.hidden_size, c.norm_eps),
        post_attention_layernorm(s / "post_attention_layernorm", c.hidden_size, c.norm_eps) {}

  template <class Tables>
  Value forward(const Step& step, const Value& x, const Tables& positions) const {
    const Value attended = x + self_attn(step, input_layernorm(x), positions);
    return attended + mlp(post_attention_layernorm(attended));
  }
};

/// As Olmo2DecoderLayer: a norm after attention, and one after the MLP, none before.
template <class Family>
struct PostNormLayer : Module<PostNormLayer<Family>> {
  static constexpr const char* kClass = Family::kLayer;
  typename Family::Attention self_attn;
  typename Family::MLP mlp;
  typename Family::Norm post_attention_layernorm, post_feedforward_layernorm;

  PostNormLayer(const Scope& s, const typename Family::Config& c, int64_t layer_idx)
      : Module<PostNormLayer>(s),
        self_attn(s / "self_attn", c, layer_idx),
        mlp(s / "mlp", c),
        post_attention_layernorm(s / "post_attention_layernorm", c.hidden_size, c.norm_eps),
        post_feedforward_layernorm(s / "post_feedforward_layernorm", c.hidden_size, c.norm_eps) {}

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    const Value context = self_attn(step, x, positions);
    const Value attended = x + post_attention_layernorm(context);
    const Value fed = mlp(attended);
    return attended + post_feedforward_layernorm(fed);
  }
};

/// As CohereDecoderLayer: attention and MLP side by side after one norm.
template <class Family>
struct ParallelLayer : Module<ParallelLayer<Family>> {
  static constexpr const char* kClass = Family::kLayer;
  typename Family::Attention self_attn;
  typename Family::MLP mlp;
  typename Family::Norm input_layernorm;

  ParallelLayer(const Scope& s, const typename Family::Config& c, int64_t layer_idx)
      : Module<ParallelLayer>(s),
        self_attn(s / "self_attn", c, layer_idx),
        mlp(s / "mlp", c),
        input_layernorm(s / "input_layernorm", c.hidden_size, c.norm_eps) {}

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    const Value normed = input_layernorm(x);
    const Value attended = x + self_attn(step, normed, positions);
    return attended + mlp(normed);
  }
};

/// As LlamaModel. A family may say `using RotaryEmbedding`, `using Embedding`, and
/// `static Value embedded(config, x)`: what becomes of the embeddings before the first layer.
template <class Family>
struct DecoderModel : Module<DecoderModel<Family>> {
  static constexpr const char* kClass = Family::kModel;
  typename Family::Config config;
  typename Family::Embedding embed_tokens;
  Layers<typename Family::Layer> layers;
  typename Family::Norm norm;
  typename Family::RotaryEmbedding rotary_emb;

  DecoderModel(const Scope& s, const typename Family::Config& c)
      : Module<DecoderModel>(s),
        config(c),
        embed_tokens(s / "embed_tokens", c.vocab_size, c.hidden_size),
        layers(c.num_hidden_layers,
               [&](int64_t i) { return typename Family::Layer(s / "layers" / i, c, i); }),
        norm(s / "norm", c.hidden_size, c.norm_eps),
        rotary_emb(s / "rotary_emb", c.rope) {}

  Value forward(const Step& step, const Value& input_ids) const {
    Value x = embed_tokens(input_ids);
    if constexpr (requires { Family::embedded(config, x); }) x = Family::embedded(config, x);
    const auto positions = rotary_emb(step.position_ids());
    for (const auto& layer : layers) x = layer(step, x, positions);
    return norm(x);
  }
};

/// What a family has unless it says otherwise.
struct DecoderFamily {
  using Embedding = lockstep::Embedding;
  using RotaryEmbedding = lockstep::RotaryEmbedding;
};

/// The stack of a family: its own `Model`(scope, config), (step, ids), else DecoderModel.
template <class Family>
struct ModelOf {
  using type = DecoderModel<Family>;
};
template <class Family>
requires requires { typename Family::Model; }
struct ModelOf<Family> {
  using type = typename Family::Model;
};

/// As LlamaForCausalLM. A family may have `static Value logits(config, x)`: what becomes of the
/// head's outputs.
template <class Family>
struct CausalLM : Module<CausalLM<Family>> {
  static constexpr const char* kClass = Family::kCausalLM;
  typename Family::Config config;
  typename ModelOf<Family>::type model;
  Linear lm_head;

  CausalLM(const Scope& s, const Config& c)
      : Module<CausalLM>(s),
        config(c),
        model(s / "model", config),
        lm_head(config.tie_word_embeddings
                    ? Linear(s / "lm_head", model.embed_tokens)
                    : Linear(s / "lm_head", config.hidden_size, config.vocab_size)) {
    s.builder().drop("*rotary_emb.inv_freq", "a buffer: computed from config.json");
  }

  Value forward(const Step& step) const {
    const Value hidden = model(step, step.input_ids());
    const Value logits = lm_head(step.logits_to_keep(hidden));
    if constexpr (requires { Family::logits(config, logits); }) {
      return Family::logits(config, logits);
    } else {
      return logits;
    }
  }
};

}  // namespace lockstep
