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
// Positions that a frequency is first looked for in; then twice as many, and so on, each of which
// says it twice as exactly.
constexpr size_t kFirstLook = 32;

struct Column {
  std::vector<double> values;
  std::span<const double> positions;

  Column first(size_t n) const {
    return {{values.begin(), values.begin() + static_cast<int64_t>(n)}, positions.first(n)};
  }
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

using Error = std::function<double(const Column&, double)>;

// The frequency at which `error` is least: the best of a grid over few positions, then ever more.
double frequency_of(const Column& column, const Error& error, double low) {
  size_t n = std::min(column.values.size(), kFirstLook);
  Column look = column.first(n);
  const auto n_grid = static_cast<int64_t>(8 * n);
  double step = (kFastest - low) / static_cast<double>(n_grid);
  double best = low, least = error(look, low);
  for (int64_t i = 1; i <= n_grid; ++i) {
    const double w = low + static_cast<double>(i) * step, value = error(look, w);
    if (value < least) {
      least = value;
      best = w;
    }
  }
  while (true) {
    best = golden_section([&](double w) { return error(look, w); }, std::max(low, best - step),
                          std::min(kFastest, best + step));
    if (n == column.values.size()) return best;
    n = std::min(2 * n, column.values.size());
    look = column.first(n);
    step = 1 / static_cast<double>(n);
  }
}

double value_at(Table table, const Rotation& rotation, double frequency, double position) {
  const double angle = frequency * (position + rotation.offset);
  return rotation.factor * (table == Table::kSines ? std::sin(angle) : std::cos(angle));
}

// Length and phase of the fastest column, which goes round and so says them.
void fit_fastest(Rotation& rotation, const Column& column, Table table, double bar) {
  constexpr double kSlowest = 1e-3;
  const double w = frequency_of(
      column, [](const Column& c, double v) { return wave_of(c, v).left; }, kSlowest);
  const Wave wave = wave_of(column, w);
  rotation.factor = std::hypot(wave.a, wave.b);
  if (std::abs(rotation.factor - 1) < 10 * bar) rotation.factor = 1;
  const double phase =
      table == Table::kSines ? std::atan2(wave.a, wave.b) : std::atan2(-wave.b, wave.a);
  rotation.offset = phase / w;
  if (std::abs(rotation.offset - std::round(rotation.offset)) < 1e-2) {
    rotation.offset = std::round(rotation.offset);
  }
}

}  // namespace

Array table_of(Table table, const Rotation& rotation, std::span<const double> positions) {
  const auto n = static_cast<int64_t>(rotation.frequency.size());
  Array made = matrix(static_cast<int64_t>(positions.size()), 2 * n);
  for (int64_t t = 0; t < made.rows(); ++t) {
    for (int64_t c = 0; c < 2 * n; ++c) {
      const int64_t j = rotation.pairing == Pairing::kHalf ? c % n : c / 2;
      at(made, t, c) = value_at(table, rotation, rotation.frequency[static_cast<size_t>(j)],
                                positions[static_cast<size_t>(t)]);
    }
  }
  return made;
}

std::optional<Rotation> measure_table(const Array& values, Table table, Pairing pairing,
                                      std::span<const double> positions, double bar) {
  const int64_t n = values.width() / 2;
  if (n == 0 || positions.size() < kFewestPositions ||
      values.rows() != static_cast<int64_t>(positions.size())) {
    return {};
  }
  Rotation rotation{pairing, 0, 2 * n, {}, 0, 1};
  const auto column_of = [&](int64_t j) {
    Column column{{}, positions};
    for (int64_t t = 0; t < values.rows(); ++t) {
      column.values.push_back(at(values, t, pairing == Pairing::kHalf ? j : 2 * j));
    }
    return column;
  };
  fit_fastest(rotation, column_of(0), table, bar);
  const auto error = [&](const Column& column, double frequency) {
    double sum = 0;
    for (size_t t = 0; t < column.values.size(); ++t) {
      const double d = value_at(table, rotation, frequency, column.positions[t]) - column.values[t];
      sum += d * d;
    }
    return sum;
  };
  const double low = table == Table::kSines ? -kFastest : 0;
  for (int64_t j = 0; j < n; ++j) {
    rotation.frequency.push_back(frequency_of(column_of(j), error, low));
  }
  if (!reproduces(table_of(table, rotation, positions), values, bar)) return {};
  return rotation;
}

}  // namespace lockstep::parity::measure
