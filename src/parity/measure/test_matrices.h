// Made-up matrices for the tests of this folder: known truth, and noise of a known size.
#pragma once

#include <random>
#include <vector>

#include "parity/measure/matrix.h"

namespace lockstep::parity::measure {

inline Array random_matrix(int64_t rows, int64_t columns, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  Array m = matrix(rows, columns);
  for (double& x : m.values) x = normal(random);
  return m;
}

inline std::vector<double> random_row(int64_t n, uint64_t seed) {
  return random_matrix(1, n, seed).values;
}

/// As a kernel of relative error `size` would give it.
inline Array noisy(Array m, double size, uint64_t seed = 99) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  for (double& x : m.values) x *= 1 + size * normal(random);
  return m;
}

/// Of float32 kernels, and what is judged by.
inline constexpr double kNoise = 1e-7, kBar = 1e-6;

}  // namespace lockstep::parity::measure
