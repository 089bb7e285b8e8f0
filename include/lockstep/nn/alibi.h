// Attention with linear biases.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

namespace lockstep {

/// The slope of each head, as build_alibi_tensor has it: powers of 2^(-8 / n) for the largest power
/// of two n up to n_heads, then every second power of 2^(-4 / n).
inline std::vector<double> alibi_slopes(int64_t n_heads) {
  int64_t n = 1;
  while (2 * n <= n_heads) n *= 2;
  std::vector<double> slopes;
  for (int64_t h = 0; h < n_heads; ++h) {
    const auto count = static_cast<double>(h < n ? n : 2 * n);
    const double power = static_cast<double>(h < n ? h + 1 : 2 * (h - n) + 1);
    const auto base = static_cast<float>(std::exp2(-8 / count));
    slopes.push_back(static_cast<float>(std::pow(static_cast<double>(base), power)));
  }
  return slopes;
}

}  // namespace lockstep
