// LFM2, a hybrid of short convolutions and attention. Mirrors transformers
// models/lfm2/modeling_lfm2.py (5.x); member names are the reference's module names, so they bind
// the weights and name the taps.
#pragma once

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "lockstep/lockstep.h"

namespace lockstep::lfm2 {

// Whether each layer attends, from layer_types; where these are absent, those of full_attn_idxs do,
// and without either all.
inline std::vector<bool> attention_layers(const Config& c, int64_t n_layers) {
  const std::vector<std::string> types = c.layer_types(n_layers, {"conv", "full_attention"});
  const std::vector<int64_t> indices = c.integers("full_attn_idxs");
  const bool has_indices = c.has("full_attn_idxs");
  std::vector<bool> attends;
  for (int64_t i = 0; i < n_layers; ++i) {
    const bool is_listed = std::find(indices.begin(), indices.end(), i) != indices.end();
    attends.push_back(types.empty() ? is_listed || !has_indices
                                    : types[static_cast<size_t>(i)] == "full_attention");
  }
  return attends;
}

// The keys of Lfm2Config that the computation reads, with Lfm2Config's defaults.
struct Lfm2Config {
  int64_t vocab_size, hidden_size, intermediate_size, num_hidden_layers;
  int64_t num_attention_heads, num_key_value_heads, head_dim, conv_L_cache;
  double norm_eps;
  Bias conv_bias;
  bool tie_word_embeddings;
  std::vector<bool> attends;
  RopeFrequencies rope;

  explicit Lfm2Config(const Config& c)
      : vocab_size(c.size("vocab_size", 65536)),
        hidden_size(c.size("hidden_size", 2560)),
        intermediate_size(adjusted_size(c)),
        num_hidden_layers(c.layers("num_hidden_layers", 32)),
        num_attention_heads(c.size("num_attention_heads", 32)),
        num_key_value_heads(c.size("num_key_value_heads", 8)),
        head_dim(c.size("head_dim", hidden_size / num_attention_heads)),
        conv_L_cache(c.size("conv_L_cache", 3, 2)),
        norm_eps(c.positive("norm_eps", 1e-5)),
        conv_bias(Bias{c.flag("conv_bias", false)}),
        tie_word_embeddings(c.flag("tie_embedding", c.flag("tie_word_embeddings", true))),
        attends(attention_layers(c, num_hidden_layers)),
        rope(rope_frequencies(c, head_dim, 1000000.0)) {}

  // The width of the feed-forward block: as given, or two thirds of it, scaled and rounded up.
  static int64_t adjusted_size(const Config& c) {
    const int64_t given = c.size("block_ff_dim", c.size("intermediate_size", 12288));
    const int64_t multiple = c.size("block_multiple_of", 256);
    const double factor = c.positive("block_ffn_dim_multiplier", 1.0);
    if (!c.flag("block_auto_adjust_ff_dim", true)) return given;
    const auto two_thirds = static_cast<int64_t>(static_cast<double>(2 * given) / 3);
    if (c.is_null("block_ffn_dim_multiplier")) return two_thirds;
    const auto scaled = static_cast<int64_t>(factor * static_cast<double>(two_thirds));
    return multiple * ((scaled + multiple - 1) / multiple);
  }
};

struct MLP : Module<MLP> {
  static constexpr const char* kClass = "Lfm2MLP";
  Linear w1, w3, w2;

  MLP(const Scope& s, const Lfm2Config& c)
      : Module(s),
        w1(s / "w1", c.hidden_size, c.intermediate_size),
        w3(s / "w3", c.hidden_size, c.intermediate_size),
        w2(s / "w2", c.intermediate_size, c.hidden_size) {}

  Value forward(const Value& x) const {
    const Value gate = activation(w1(x), "silu");
    const Value up = w3(x);
    return w2(gate * up);
  }
};

struct Attention : Module<Attention> {
  static constexpr const char* kClass = "Lfm2Attention";
  int64_t head_dim;
  Linear q_proj, k_proj, v_proj, out_proj;
  RMSNorm q_layernorm, k_layernorm;

  Attention(const Scope& s, const Lfm2Config& c)
      : Module(s),
        head_dim(c.head_dim),
        q_proj(s / "q_proj", c.hidden_size, c.num_attention_heads * head_dim),
        k_proj(s / "k_proj", c.hidden_size, c.num_key_value_heads * head_dim),
        v_proj(s / "v_proj", c.hidden_size, c.num_key_value_heads * head_dim),
        out_proj(s / "out_proj", c.num_attention_heads * head_dim, c.hidden_size),
        q_layernorm(s / "q_layernorm", head_dim, c.norm_eps),
        k_layernorm(s / "k_layernorm", head_dim, c.norm_eps) {}

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    Value q = q_layernorm(split_heads(q_proj(x), head_dim));
    Value k = k_layernorm(split_heads(k_proj(x), head_dim));
    const Value v = split_heads(v_proj(x), head_dim);
    q = apply_rotary_pos_emb(q, positions);
    k = apply_rotary_pos_emb(k, positions);
    const double scaling = 1 / std::sqrt(static_cast<double>(head_dim));
    return out_proj(merge_heads(step.attend(q, k, v, {.scale = scaling})));
  }
};

struct ShortConv : Module<ShortConv> {
  static constexpr const char* kClass = "Lfm2ShortConv";
  int64_t hidden_size, L_cache;
  CausalConv1d conv;
  Linear in_proj, out_proj;

  ShortConv(const Scope& s, const Lfm2Config& c)
      : Module(s),
        hidden_size(c.hidden_size),
        L_cache(c.conv_L_cache),
        conv(s / "conv", c.hidden_size, L_cache, c.conv_bias),
        in_proj(s / "in_proj", c.hidden_size, 3 * c.hidden_size, c.conv_bias),
        out_proj(s / "out_proj", c.hidden_size, c.hidden_size, c.conv_bias) {}

  Value forward(const Step& step, const Value& hidden_states) const {
    const State conv_state = step.conv_state(hidden_size, L_cache);
    const Value BCx = in_proj(hidden_states);
    const Value B = slice(BCx, 0, hidden_size);
    const Value C = slice(BCx, hidden_size, 2 * hidden_size);
    const Value x = slice(BCx, 2 * hidden_size, 3 * hidden_size);
    const Value conv_out = conv(step, B * x, conv_state);
    step.tap(conv_state);
    return out_proj(C * conv_out);
  }
};

struct DecoderLayer : Module<DecoderLayer> {
  static constexpr const char* kClass = "Lfm2DecoderLayer";
  std::optional<Attention> self_attn;
  std::optional<ShortConv> conv;
  MLP feed_forward;
  RMSNorm operator_norm, ffn_norm;

  DecoderLayer(const Scope& s, const Lfm2Config& c, int64_t layer)
      : Module(s),
        feed_forward(s / "feed_forward", c),
        operator_norm(s / "operator_norm", c.hidden_size, c.norm_eps),
        ffn_norm(s / "ffn_norm", c.hidden_size, c.norm_eps) {
    if (c.attends[static_cast<size_t>(layer)]) {
      self_attn.emplace(s / "self_attn", c);
    } else {
      conv.emplace(s / "conv", c);
    }
  }

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    const Value normed = operator_norm(x);
    const Value mixed = self_attn ? (*self_attn)(step, normed, positions) : (*conv)(step, normed);
    const Value residual = mixed + x;
    return residual + feed_forward(ffn_norm(residual));
  }
};

struct Lfm2Model : Module<Lfm2Model> {
  static constexpr const char* kClass = "Lfm2Model";
  Embedding embed_tokens;
  Layers<DecoderLayer> layers;
  RotaryEmbedding rotary_emb;
  RMSNorm embedding_norm;

  Lfm2Model(const Scope& s, const Lfm2Config& c)
      : Module(s),
        embed_tokens(s / "embed_tokens", c.vocab_size, c.hidden_size),
        layers(c.num_hidden_layers,
               [&](int64_t i) { return DecoderLayer(s / "layers" / i, c, i); }),
        rotary_emb(s / "rotary_emb", c.rope),
        embedding_norm(s / "embedding_norm", c.hidden_size, c.norm_eps) {}

  Value forward(const Step& step, const Value& input_ids) const {
    Value x = embed_tokens(input_ids);
    const PositionEmbeddings positions = rotary_emb(step.position_ids());
    for (const DecoderLayer& layer : layers) x = layer(step, x, positions);
    return embedding_norm(x);
  }
};

struct Lfm2 {
  static constexpr const char* kCausalLM = "Lfm2ForCausalLM";
  using Config = Lfm2Config;
  using Model = Lfm2Model;
};

using Lfm2ForCausalLM = CausalLM<Lfm2>;

}  // namespace lockstep::lfm2
