// What Mamba and Mamba 2 have in common: everything around their mixers.
#pragma once

#include "lockstep/config.h"
#include "lockstep/module.h"
#include "lockstep/nn/linear.h"
#include "lockstep/nn/rms_norm.h"
#include "lockstep/step.h"

namespace lockstep {

/// A norm and a mixer beside the residual. A family has kBlock, Config and
/// Mixer(scope, config), (step, x).
template <class Family>
struct MambaBlock : Module<MambaBlock<Family>> {
  static constexpr const char* kClass = Family::kBlock;
  bool residual_in_fp32;
  RMSNorm norm;
  typename Family::Mixer mixer;

  MambaBlock(const Scope& s, const typename Family::Config& c)
      : Module<MambaBlock>(s),
        residual_in_fp32(c.residual_in_fp32),
        norm(s / "norm", c.hidden_size, c.layer_norm_epsilon),
        mixer(s / "mixer", c) {}

  Value forward(const Step& step, const Value& x) const {
    const Value mixed = mixer(step, norm(to_activation(x)));
    return residual_in_fp32 ? to_float32(x) + to_float32(mixed) : x + mixed;
  }
};

template <class Family>
struct MambaModel : Module<MambaModel<Family>> {
  static constexpr const char* kClass = Family::kModel;
  Embedding embeddings;
  Layers<MambaBlock<Family>> layers;
  RMSNorm norm_f;

  MambaModel(const Scope& s, const typename Family::Config& c)
      : Module<MambaModel>(s),
        embeddings(s.at("embeddings", "embedding"), c.vocab_size, c.hidden_size),
        layers(c.num_hidden_layers,
               [&](int64_t i) { return MambaBlock<Family>(s / "layers" / i, c); }),
        norm_f(s / "norm_f", c.hidden_size, c.layer_norm_epsilon) {}

  Value forward(const Step& step, const Value& input_ids) const {
    Value x = embeddings(input_ids);
    for (const MambaBlock<Family>& layer : layers) x = layer(step, x);
    return norm_f(x);
  }
};

template <class Family>
struct MambaCausalLM : Module<MambaCausalLM<Family>> {
  static constexpr const char* kClass = Family::kCausalLM;
  typename Family::Config config;
  MambaModel<Family> backbone;
  Linear lm_head;

  MambaCausalLM(const Scope& s, const Config& c)
      : Module<MambaCausalLM>(s),
        config(c),
        backbone(s / "backbone", config),
        lm_head(config.tie_word_embeddings
                    ? Linear(s / "lm_head", backbone.embeddings)
                    : Linear(s / "lm_head", config.hidden_size, config.vocab_size)) {}

  Value forward(const Step& step) const {
    const Value hidden = backbone(step, step.input_ids());
    return lm_head(to_activation(step.logits_to_keep(hidden)));
  }
};

}  // namespace lockstep
