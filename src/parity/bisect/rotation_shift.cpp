#include "parity/bisect/rotation_shift.h"

#include <cmath>
#include <complex>
#include <vector>

namespace lockstep::parity {
namespace {

using Complex = std::complex<double>;
constexpr double kKeptLength = 5e-3;  // of a pair, by a rotation: bfloat16 rounds by 2e-3
constexpr double kExplained = 0.02;   // of the difference's energy may be left over

// Where the two elements of pair `j` of a vector of `width` lie, in a head's row.
struct Pairing {
  size_t width;
  bool halves;
  size_t first(size_t j) const { return halves ? j : 2 * j; }
  size_t second(size_t j) const { return halves ? j + width / 2 : 2 * j + 1; }
};

std::vector<Complex> pairs_of(std::span<const float> x, const Pairing& pairing) {
  std::vector<Complex> pairs;
  for (size_t head = 0; head + pairing.width <= x.size(); head += pairing.width) {
    for (size_t j = 0; j < pairing.width / 2; ++j) {
      pairs.emplace_back(x[head + pairing.first(j)], x[head + pairing.second(j)]);
    }
  }
  return pairs;
}

bool keeps_lengths(const std::vector<Complex>& a, const std::vector<Complex>& b) {
  double apart = 0, size = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = std::abs(a[i]) - std::abs(b[i]);
    apart += d * d;
    size += std::norm(a[i]);
  }
  return size > 0 && apart <= kKeptLength * kKeptLength * size;
}

// Share of the energy of `to` that `from`, rotated by `shift` positions, does not explain.
double left_over(const std::vector<Complex>& from, const std::vector<Complex>& to,
                 const std::vector<Complex>& unit, int64_t shift) {
  double apart = 0, size = 0;
  for (size_t i = 0; i < from.size(); ++i) {
    const Complex turned = from[i] * std::pow(unit[i], static_cast<double>(shift));
    apart += std::norm(turned - to[i]);
    size += std::norm(to[i]);
  }
  return size == 0 ? 1 : apart / size;
}

}  // namespace

std::optional<int64_t> rotation_shift(const RotatedPair& first, const RotatedPair& found,
                                      int64_t position) {
  for (size_t width = first.from.size(); width >= 4; --width) {
    if (first.from.size() % width != 0 || width % 2 != 0) continue;
    for (const bool halves : {true, false}) {
      const Pairing pairing{width, halves};
      const auto from = pairs_of(first.from, pairing), to = pairs_of(first.to, pairing);
      const auto expected = pairs_of(found.from, pairing), was = pairs_of(found.to, pairing);
      if (!keeps_lengths(from, to) || !keeps_lengths(expected, was)) continue;
      std::vector<Complex> unit(from.size(), 1);
      for (size_t i = 0; i < from.size(); ++i) {
        if (std::norm(from[i]) == 0) continue;
        const Complex turn = to[i] / from[i];
        if (std::abs(turn) > 0) unit[i] = turn / std::abs(turn);
      }
      for (int64_t n = 1; n <= position + 64; ++n) {
        for (const int64_t shift : {-n, n}) {
          if (left_over(expected, was, unit, shift) <= kExplained) return shift;
        }
      }
    }
  }
  return std::nullopt;
}

}  // namespace lockstep::parity
