// torch.nn.LayerNorm over the last dimension.
#pragma once

#include <optional>

#include "lockstep/module.h"
#include "lockstep/nn/linear.h"

namespace lockstep {

/// (x - mean) / sqrt(variance + eps) * weight + bias, rounded once.
struct LayerNorm : Module<LayerNorm> {
  static constexpr const char* kClass = "LayerNorm";
  Value weight;
  std::optional<Value> bias;
  double eps;

  LayerNorm(const Scope& s, int64_t width, double epsilon, Bias with_bias = Bias::kYes)
      : Module(s), weight(s.parameter("weight", {width})), eps(epsilon) {
    if (with_bias == Bias::kYes) bias = s.parameter("bias", {width});
  }

  Value forward(const Value& x) const {
    return bias ? x.builder().op("layer_norm", {x, weight, *bias}, {{"eps", eps}})
                : x.builder().op("layer_norm", {x, weight}, {{"eps", eps}});
  }
};

/// As CohereLayerNorm.
struct BiaslessLayerNorm : LayerNorm {
  BiaslessLayerNorm(const Scope& s, int64_t width, double epsilon)
      : LayerNorm(s, width, epsilon, Bias::kNo) {}
};

}  // namespace lockstep
