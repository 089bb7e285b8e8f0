// Root-mean-square norm over the last dimension.
#pragma once

#include "lockstep/module.h"

namespace lockstep {

/// As LlamaRMSNorm: normalised in float32, rounded to x's type, then times the weight.
struct RMSNorm : Module<RMSNorm> {
  static constexpr const char* kClass = "RMSNorm";
  Value weight;
  double eps;

  RMSNorm(const Scope& s, int64_t width, double epsilon)
      : Module(s), weight(s.parameter("weight", {width})), eps(epsilon) {}

  Value forward(const Value& x) const {
    return x.builder().op("rms_norm", {x, weight}, {{"eps", eps}, {"rounding", "before_weight"}});
  }
};

/// As Olmo2RMSNorm: the weight multiplies in float32 too, before the one rounding.
struct Float32RMSNorm : Module<Float32RMSNorm> {
  static constexpr const char* kClass = "RMSNorm";
  Value weight;
  double eps;

  Float32RMSNorm(const Scope& s, int64_t width, double epsilon)
      : Module(s), weight(s.parameter("weight", {width})), eps(epsilon) {}

  Value forward(const Value& x) const {
    return x.builder().op("rms_norm", {x, weight}, {{"eps", eps}, {"rounding", "after_weight"}});
  }
};

/// As Gemma's: the weight is stored less 1, and all is float32 until the one rounding.
struct UnitOffsetRMSNorm : Module<UnitOffsetRMSNorm> {
  static constexpr const char* kClass = "RMSNorm";
  Value weight;
  double eps;

  UnitOffsetRMSNorm(const Scope& s, int64_t width, double epsilon)
      : Module(s), weight(s.parameter("weight", {width})), eps(epsilon) {}

  Value forward(const Value& x) const {
    return x.builder().op("rms_norm", {x, weight},
                          {{"eps", eps}, {"rounding", "after_weight"}, {"weight_offset", 1.0}});
  }
};

}  // namespace lockstep
