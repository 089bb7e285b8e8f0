#include "parity/bisect/rows.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace lockstep::parity {

double row_difference(std::span<const float> a, std::span<const float> b) noexcept {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (a.size() != b.size()) return kInfinity;
  double apart = 0, size = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] == b[i]) {
      if (std::isfinite(a[i])) size += double{a[i]} * a[i];
      continue;
    }
    if (!std::isfinite(a[i]) || !std::isfinite(b[i])) return kInfinity;
    const double d = double{b[i]} - a[i];
    apart += d * d;
    size += double{a[i]} * a[i];
  }
  if (apart == 0) return 0;
  return size == 0 ? kInfinity : std::sqrt(apart / size);
}

bool is_zero(std::span<const float> row) noexcept {
  return std::ranges::all_of(row, [](float x) { return x == 0; });
}

}  // namespace lockstep::parity
