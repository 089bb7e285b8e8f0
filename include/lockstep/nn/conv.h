// torch.nn.Conv1d as state-space models use it: depthwise, causal, over the tokens of a sequence.
#pragma once

#include <optional>

#include "lockstep/nn/linear.h"
#include "lockstep/step.h"

namespace lockstep {

/// weight [C, 1, K], x [T, C], a state with a window of K - 1 or K -> [T, C]
struct CausalConv1d : Module<CausalConv1d> {
  static constexpr const char* kClass = "Conv1d";
  Value weight;
  std::optional<Value> bias;

  CausalConv1d(const Scope& s, int64_t channels, int64_t kernel_size, Bias with_bias)
      : Module(s), weight(s.parameter("weight", {channels, 1, kernel_size})) {
    if (with_bias == Bias::kYes) bias = s.parameter("bias", {channels});
  }

  Value forward(const Step& step, const Value& x, const State& state) const {
    return step.causal_conv(x, weight, bias, state);
  }
};

}  // namespace lockstep
