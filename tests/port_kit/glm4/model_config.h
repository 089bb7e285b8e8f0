// The keys of config.json that Glm4ForCausalLM reads, with the defaults of the reference's config
// class.
//
// Derived from Phi3ForCausalLM (lockstep/archs/phi3.h).
//
// Deltas implemented: 1, whether projections have biases.
#pragma once

#include "lockstep/archs/phi3.h"

namespace lockstep::port_glm4 {

using namespace lockstep::phi3;

/// config.json as it is.
inline const Config& readable(const Config& c) { return c; }

struct Glm4Config : DecoderConfig {
  double norm_eps;
  std::string hidden_act;
  Bias attention_bias;
  RopeFrequencies rope;

  explicit Glm4Config(const Config& c)
      : DecoderConfig(c, {.vocab_size = 151552,
                          .hidden_size = 4096,
                          .intermediate_size = 13696,
                          .num_hidden_layers = 40,
                          .num_attention_heads = 32,
                          .num_key_value_heads = 2,
                          .head_dim = 128}),
        norm_eps(c.positive("rms_norm_eps", 1.5625e-07)),
        hidden_act(c.text("hidden_act", "silu")),
        attention_bias(Bias{c.flag("attention_bias", true)}),
        rope(rope_frequencies(c, partial_rotary_dim(c, head_dim, 0.5),
                              {.max_position_embeddings = 131072})) {
    // In rope_parameters as well, from where it is read.
    (void)c.has("partial_rotary_factor");
  }
};

}  // namespace lockstep::port_glm4
