// Gemma 2: four norms a layer, every other layer local, soft caps on scores and logits. Mirrors
// transformers models/gemma2/modeling_gemma2.py (5.x); member names are the reference's module
// names, so they bind the weights and name the taps.
#pragma once

#include <cmath>
#include <vector>

#include "lockstep/lockstep.h"

namespace lockstep::gemma2 {

// The keys of Gemma2Config that the computation reads, with Gemma2Config's defaults.
struct Gemma2Config : DecoderConfig {
  double norm_eps, query_pre_attn_scalar;
  std::string hidden_act;
  Bias attention_bias;
  double attn_logit_softcapping, final_logit_softcapping;  // 0: none
  std::vector<int64_t> windows;
  RopeFrequencies rope;

  explicit Gemma2Config(const Config& c)
      : DecoderConfig(c, {.vocab_size = 256000,
                          .hidden_size = 2304,
                          .intermediate_size = 9216,
                          .num_hidden_layers = 26,
                          .num_attention_heads = 8,
                          .num_key_value_heads = 4,
                          .head_dim = 256,
                          .tie_word_embeddings = true}),
        norm_eps(c.positive("rms_norm_eps", 1e-6)),
        query_pre_attn_scalar(c.positive("query_pre_attn_scalar", 256)),
        hidden_act(c.text("hidden_activation", "gelu_pytorch_tanh")),
        attention_bias(Bias{c.flag("attention_bias", false)}),
        attn_logit_softcapping(cap(c, "attn_logit_softcapping", 50)),
        final_logit_softcapping(cap(c, "final_logit_softcapping", 30)),
        windows(layer_windows(c, num_hidden_layers,
                              c.is_null("sliding_window") ? 0 : c.size("sliding_window", 4096),
                              [](int64_t i) { return i % 2 == 0; })),
        rope(rope_frequencies(c, head_dim, {.max_position_embeddings = 8192})) {
    expect_causal(c);
  }

  // Null is no cap.
  static double cap(const Config& c, const char* key, double otherwise) {
    return c.is_null(key) ? 0 : c.positive(key, otherwise);
  }
};

struct Attention : RotaryAttention<Attention> {
  static constexpr const char* kClass = "Gemma2Attention";

  Attention(const Scope& s, const Gemma2Config& c, int64_t layer_idx)
      : RotaryAttention(s, c,
                        {.scale = 1 / std::sqrt(c.query_pre_attn_scalar),
                         .window = c.windows[static_cast<size_t>(layer_idx)],
                         .soft_cap = c.attn_logit_softcapping},
                        c.attention_bias, c.attention_bias) {}
};

struct DecoderLayer : Module<DecoderLayer> {
  static constexpr const char* kClass = "Gemma2DecoderLayer";
  Attention self_attn;
  GatedMLP mlp;
  UnitOffsetRMSNorm input_layernorm, post_attention_layernorm;
  UnitOffsetRMSNorm pre_feedforward_layernorm, post_feedforward_layernorm;

  DecoderLayer(const Scope& s, const Gemma2Config& c, int64_t layer_idx)
      : Module(s),
        self_attn(s / "self_attn", c, layer_idx),
        mlp(s / "mlp", c),
        input_layernorm(s / "input_layernorm", c.hidden_size, c.norm_eps),
        post_attention_layernorm(s / "post_attention_layernorm", c.hidden_size, c.norm_eps),
        pre_feedforward_layernorm(s / "pre_feedforward_layernorm", c.hidden_size, c.norm_eps),
        post_feedforward_layernorm(s / "post_feedforward_layernorm", c.hidden_size, c.norm_eps) {}

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    const Value context = self_attn(step, input_layernorm(x), positions);
    const Value attended = x + post_attention_layernorm(context);
    const Value fed = mlp(pre_feedforward_layernorm(attended));
    return attended + post_feedforward_layernorm(fed);
  }
};

struct Gemma2 : DecoderFamily {
  static constexpr const char* kCausalLM = "Gemma2ForCausalLM";
  static constexpr const char* kModel = "Gemma2Model";
  using Config = Gemma2Config;
  using Norm = UnitOffsetRMSNorm;
  using Layer = DecoderLayer;
  using Embedding = ScaledEmbedding;

  static Value logits(const Gemma2Config& c, const Value& x) {
    const double cap = c.final_logit_softcapping;
    return cap == 0 ? x : scale(activation(scale(x, 1 / cap), "tanh"), cap);
  }
};

using Gemma2ForCausalLM = CausalLM<Gemma2>;

}  // namespace lockstep::gemma2
