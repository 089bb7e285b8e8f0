// One table of cosines or sines alone: which frequency each column turns by.
#include <algorithm>
#include <cmath>

#include "parity/measure/rotation.h"
#include "parity/measure/search.h"

namespace lockstep::parity::measure {
namespace {

constexpr size_t kFewestPositions = 4;
// Half a turn a position is where sines vanish, and with them every other.
constexpr double kFastest = 3;

struct Column {
  std::vector<double> values;
  std::span<const double> positions;
};

// a cos(w p) + b sin(w p) closest to a column, for one w.
struct Wave {
  double a = 0, b = 0, left = 0;
};

Wave wave_of(const Column& column, double w) {
  double cc = 0, cs = 0, ss = 0, yc = 0, ys = 0, yy = 0;
  for (size_t t = 0; t < column.values.size(); ++t) {
    const double c = std::cos(w * column.positions[t]), s = std::sin(w * column.positions[t]);
    const double y = column.values[t];
    cc += c * c;
    cs += c * s;
    ss += s * s;
    yc += y * c;
    ys += y * s;
    yy += y * y;
  }
  const double determinant = cc * ss - cs * cs;
  if (determinant <= 1e-12 * cc * ss) return {0, 0, yy};
  const Wave wave{(yc * ss - ys * cs) / determinant, (ys * cc - yc * cs) / determinant, 0};
  return {wave.a, wave.b, yy - wave.a * yc - wave.b * ys};
}

// Least of f over [low, high], which has several dents: the best of a grid, then closer.
double least_on(const std::function<double(double)>& f, double low, double high, int64_t n_grid) {
  double best = low, least = f(low);
  const double step = (high - low) / static_cast<double>(n_grid);
  for (int64_t i = 1; i <= n_grid; ++i) {
    const double w = low + static_cast<double>(i) * step, value = f(w);
    if (value < least) {
      least = value;
      best = w;
    }
  }
  return golden_section(f, std::max(low, best - step), std::min(high, best + step));
}

}  // namespace

std::optional<Rotation> measure_table(const Array& table, bool is_sine, Pairing pairing,
                                      std::span<const double> positions, double bar) {
  const int64_t n = table.width() / 2;
  if (n == 0 || positions.size() < kFewestPositions) return {};
  const auto [first, last] = std::ranges::minmax(positions);
  const auto n_grid = static_cast<int64_t>(8 * (last - first + 1));
  Rotation rotation{pairing, 0, 2 * n, {}, 0, 1};
  const auto column_of = [&](int64_t j) {
    Column column{{}, positions};
    for (int64_t t = 0; t < table.rows(); ++t) {
      column.values.push_back(at(table, t, pairing == Pairing::kHalf ? j : 2 * j));
    }
    return column;
  };
  // The fastest goes round, and so says length and phase as well as frequency.
  const Column fastest = column_of(0);
  const double w = least_on([&](double v) { return wave_of(fastest, v).left; }, 1e-3,
                            kFastest, n_grid);
  const Wave wave = wave_of(fastest, w);
  rotation.factor = std::hypot(wave.a, wave.b);
  if (std::abs(rotation.factor - 1) < 10 * bar) rotation.factor = 1;
  const double phase = is_sine ? std::atan2(wave.a, wave.b) : std::atan2(-wave.b, wave.a);
  rotation.offset = phase / w;
  if (std::abs(rotation.offset - std::round(rotation.offset)) < 1e-2) {
    rotation.offset = std::round(rotation.offset);
  }
  const auto value = [&](double frequency, size_t t) {
    const double angle = frequency * (positions[t] + rotation.offset);
    return rotation.factor * (is_sine ? std::sin(angle) : std::cos(angle));
  };
  for (int64_t j = 0; j < n; ++j) {
    const Column column = column_of(j);
    const auto left = [&](double frequency) {
      double sum = 0;
      for (size_t t = 0; t < positions.size(); ++t) {
        sum += std::pow(value(frequency, t) - column.values[t], 2);
      }
      return sum;
    };
    rotation.frequency.push_back(
        least_on(left, is_sine ? -kFastest : 0, kFastest, n_grid));
  }
  Array made = table;
  for (int64_t t = 0; t < table.rows(); ++t) {
    for (int64_t c = 0; c < 2 * n; ++c) {
      const int64_t j = pairing == Pairing::kHalf ? c % n : c / 2;
      at(made, t, c) = value(rotation.frequency[static_cast<size_t>(j)], static_cast<size_t>(t));
    }
  }
  if (!reproduces(made, table, bar)) return {};
  return rotation;
}

}  // namespace lockstep::parity::measure
