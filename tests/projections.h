// Random projections of arrays, from a counter: tests/stress/make_checkpoint.py makes the same ones
// of what the reference computed.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <string_view>
#include <vector>

namespace lockstep::test {

/// The finaliser of splitmix64.
inline uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

/// 64 random bits of the nth element of what has this seed and name.
class Draws {
 public:
  Draws(uint64_t seed, std::string_view name) {
    uint64_t hash = 0xCBF29CE484222325;  // FNV-1a
    for (const char c : name) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001B3;
    key_ = mix(hash + seed * kStep);
  }
  uint64_t operator()(uint64_t n) const { return mix(key_ + (n + 1) * kStep); }

 private:
  static constexpr uint64_t kStep = 0x9E3779B97F4A7C15;
  uint64_t key_;
};

/// 64 projections of an array that comes in parts: one of each eighth of the rows and eighth of the
/// columns, every element with a random sign.
class Projections {
 public:
  static constexpr size_t kBlocks = 8, kCount = kBlocks * kBlocks;
  using Sums = std::array<double, kCount>;

  Projections(const Draws& draw, const std::vector<int64_t>& shape) : draw_(draw) {
    rows_ = static_cast<size_t>(shape[0]);
    for (size_t i = 1; i < shape.size(); ++i) columns_ *= static_cast<size_t>(shape[i]);
  }

  /// Rows that follow those added before.
  void add(const std::vector<double>& values) {
    for (const double x : values) {
      const size_t row = n_ / columns_, column = n_ % columns_;
      const size_t bucket = row * kBlocks / rows_ * kBlocks + column * kBlocks / columns_;
      if (row < rows_) sums_[bucket] += draw_(n_) >> 63 ? -x : x;
      ++n_;
    }
  }
  void restart() {
    *this = Projections(draw_, {static_cast<int64_t>(rows_), static_cast<int64_t>(columns_)});
  }
  bool complete() const { return n_ == rows_ * columns_; }
  const Sums& sums() const { return sums_; }

 private:
  Draws draw_;
  size_t rows_ = 1, columns_ = 1, n_ = 0;
  Sums sums_{};
};

/// Relative error, estimated from projections: of the whole array, and the root of the mean square
/// over buckets, each relative to its own norm, from which no large channel hides anything. The
/// square of a projection of the difference has the energy of that bucket's difference as its mean,
/// so with 64 of them an error that is spread evenly is estimated to about a tenth.
struct RelativeError {
  double whole = 0, by_bucket = 0;
};

inline RelativeError estimate(const Projections::Sums& found, const double* expected,
                              const float* norms) {
  double difference = 0, energy = 0, relative = 0, used = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    const double d = found[i] - expected[i], norm = norms[i];
    difference += d * d;
    energy += norm * norm;
    if (norm == 0) continue;
    relative += d * d / (norm * norm);
    ++used;
  }
  return {std::sqrt(difference / std::max(energy, 1e-300)),
          std::sqrt(relative / std::max(used, 1.0))};
}

}  // namespace lockstep::test
