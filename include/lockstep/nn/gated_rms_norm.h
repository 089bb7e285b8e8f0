// Root-mean-square norm of a gated value, as Mamba 2 and its hybrids have it.
#pragma once

#include "lockstep/module.h"
#include "lockstep/ops.h"

namespace lockstep {

/// norm(x * silu(gate)) * weight, x and gate [T, H], in float32 throughout -> float32 [T, H]. The
/// reference's module gives float32 too in a prefill; its caller rounds.
struct GatedRMSNorm : Module<GatedRMSNorm> {
  static constexpr const char* kClass = "MambaRMSNormGated";
  Value weight;
  double eps;

  GatedRMSNorm(const Scope& s, int64_t width, double epsilon)
      : Module(s), weight(s.parameter("weight", {width})), eps(epsilon) {}

  Value forward(const Value& x, const Value& gate) const {
    const Value gated = to_float32(x) * activation(to_float32(gate), "silu");
    return x.builder().op("rms_norm", {gated, weight},
                          {{"eps", eps}, {"rounding", "before_weight"}});
  }
};

}  // namespace lockstep
