// Rounding a float64 as a narrower type would hold it.
#pragma once

#include "parity/measure/matrix.h"
#include "tensor/dtype.h"

namespace lockstep::parity::measure {

/// `x` to the nearest value of `type` (bfloat16, float16 or float32) and back.
inline double rounded(double x, DType type) noexcept {
  const auto single = static_cast<float>(x);
  if (type == DType::kBFloat16) return bfloat16_to_float(float_to_bfloat16(single));
  if (type == DType::kFloat16) return float16_to_float(float_to_float16(single));
  return type == DType::kFloat32 ? static_cast<double>(single) : x;
}

inline Array rounded(Array m, DType type) {
  for (double& x : m.values) x = rounded(x, type);
  return m;
}

}  // namespace lockstep::parity::measure
