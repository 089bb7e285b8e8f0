// StarCoder2: LayerNorm, a plain MLP, biases, a window. Mirrors transformers
// models/starcoder2/modeling_starcoder2.py (5.x); member names are the reference's module names, so
// they bind the weights and name the taps.
#pragma once

#include "lockstep/lockstep.h"

namespace lockstep::starcoder2 {

// The keys of Starcoder2Config that the computation reads, with Starcoder2Config's defaults.
struct Starcoder2Config : DecoderConfig {
  double norm_eps;
  std::string hidden_act;
  Bias use_bias;
  int64_t sliding_window;
  RopeFrequencies rope;

  explicit Starcoder2Config(const Config& c)
      : DecoderConfig(c, {.vocab_size = 49152,
                          .hidden_size = 3072,
                          .intermediate_size = 12288,
                          .num_hidden_layers = 30,
                          .num_attention_heads = 24,
                          .num_key_value_heads = 2,
                          .tie_word_embeddings = true}),
        norm_eps(c.positive("norm_epsilon", 1e-5)),
        hidden_act(c.text("hidden_act", "gelu_pytorch_tanh")),
        use_bias(Bias{c.flag("use_bias", true)}),
        sliding_window(c.size("sliding_window", 0, 0)),
        rope(rope_frequencies(c, head_dim, {.max_position_embeddings = 4096})) {}
};

struct Attention : RotaryAttention<Attention> {
  static constexpr const char* kClass = "Starcoder2Attention";

  Attention(const Scope& s, const Starcoder2Config& c, int64_t)
      : RotaryAttention(s, c, {.scale = head_scaling(c.head_dim), .window = c.sliding_window},
                        c.use_bias, c.use_bias) {}
};

struct MLP : Module<MLP> {
  static constexpr const char* kClass = "Starcoder2MLP";
  Linear c_fc, c_proj;
  Activation act;

  MLP(const Scope& s, const Starcoder2Config& c)
      : Module(s),
        c_fc(s / "c_fc", c.hidden_size, c.intermediate_size, c.use_bias),
        c_proj(s / "c_proj", c.intermediate_size, c.hidden_size, c.use_bias),
        act(s / "act", c.hidden_act) {}

  Value forward(const Value& x) const { return c_proj(act(c_fc(x))); }
};

struct Starcoder2 : DecoderFamily {
  static constexpr const char* kCausalLM = "Starcoder2ForCausalLM";
  static constexpr const char* kModel = "Starcoder2Model";
  static constexpr const char* kLayer = "Starcoder2DecoderLayer";
  using Config = Starcoder2Config;
  using Norm = LayerNorm;
  using Attention = starcoder2::Attention;
  using MLP = starcoder2::MLP;
  using Layer = PreNormLayer<Starcoder2>;
};

using Starcoder2ForCausalLM = CausalLM<Starcoder2>;

}  // namespace lockstep::starcoder2
