#include "parity/measure/rotation.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <numbers>
#include <numeric>

namespace lockstep::parity::measure {
namespace {

using Complex = std::complex<double>;
constexpr double kTurn = 2 * std::numbers::pi;
// Positions that follow one another, below which a frequency says little.
constexpr size_t kFewestPositions = 4;
// Heads a measurement needs; what it finds is checked on all.
constexpr int64_t kMostHeads = 4;

struct Places {
  int64_t in[2], out[2];
};

Places places(const Rotation& r, int64_t pair) {
  const int64_t half = r.width / 2;
  const Places halves{{r.first + pair, r.first + pair + half},
                      {r.first + pair, r.first + pair + half}};
  if (r.pairing == Pairing::kHalf) return halves;
  const int64_t even = r.first + 2 * pair;
  if (r.pairing == Pairing::kInterleaved) return {{even, even + 1}, {even, even + 1}};
  return {{even, even + 1}, {halves.out[0], halves.out[1]}};
}

// What a pair of channels does, token by token: factor * weight * e^(i angle), and the weights.
struct Turns {
  std::vector<Complex> phasor;
  std::vector<double> weight;
};

Turns turns_of(const Array& x, const Array& y, const Rotation& r, int64_t pair) {
  const int64_t n_tokens = x.dim(0), n_heads = x.dim(1), width = x.dim(2);
  const Places at = places(r, pair);
  Turns turns{std::vector<Complex>(static_cast<size_t>(n_tokens)),
              std::vector<double>(static_cast<size_t>(n_tokens))};
  for (int64_t t = 0; t < n_tokens; ++t) {
    for (int64_t h = 0; h < std::min(n_heads, kMostHeads); ++h) {
      const double* from = x.values.data() + (t * n_heads + h) * width;
      const double* to = y.values.data() + (t * n_heads + h) * width;
      const Complex in(from[at.in[0]], from[at.in[1]]), out(to[at.out[0]], to[at.out[1]]);
      turns.phasor[static_cast<size_t>(t)] += std::conj(in) * out;
      turns.weight[static_cast<size_t>(t)] += std::norm(in);
    }
  }
  return turns;
}

// The phase that phasors advance by over `lag` positions, weighted.
double advance(const std::vector<Complex>& g, std::span<const double> positions, size_t lag) {
  Complex total = 0;
  for (size_t t = 0; t + lag < g.size(); ++t) {
    if (positions[t + lag] - positions[t] != static_cast<double>(lag)) continue;
    total += std::conj(g[t]) * g[t + lag];
  }
  return std::arg(total);
}

struct Line {
  double slope = 0, intercept = 0;
};

// The phase as a line in the position: from neighbours, then from ever longer lags, each of which
// says which turn the next is in.
Line line_of(const std::vector<Complex>& g, std::span<const double> positions) {
  double slope = advance(g, positions, 1);
  for (size_t lag = 2; lag < g.size(); lag *= 2) {
    const double phase = advance(g, positions, lag);
    const double n = static_cast<double>(lag);
    slope = (phase + kTurn * std::round((n * slope - phase) / kTurn)) / n;
  }
  Complex at_zero = 0;
  for (size_t t = 0; t < g.size(); ++t) at_zero += g[t] * std::polar(1.0, -slope * positions[t]);
  double intercept = std::arg(at_zero);
  double w = 0, wp = 0, wpp = 0, wr = 0, wpr = 0;
  for (size_t t = 0; t < g.size(); ++t) {
    const double weight = std::abs(g[t]), p = positions[t];
    const double left = std::arg(g[t] * std::polar(1.0, -(slope * p + intercept)));
    w += weight;
    wp += weight * p;
    wpp += weight * p * p;
    wr += weight * left;
    wpr += weight * p * left;
  }
  const double determinant = w * wpp - wp * wp;
  if (determinant <= 0) return {slope, intercept};
  return {slope + (w * wpr - wp * wr) / determinant,
          intercept + (wpp * wr - wp * wpr) / determinant};
}

// The slope through phase 0 at position -offset.
double slope_through(const std::vector<Complex>& g, std::span<const double> positions, double slope,
                     double offset) {
  double w = 0, wr = 0;
  for (size_t t = 0; t < g.size(); ++t) {
    const double p = positions[t] + offset;
    w += std::abs(g[t]) * p * p;
    wr += std::abs(g[t]) * p * std::arg(g[t] * std::polar(1.0, -slope * p));
  }
  return w > 0 ? slope + wr / w : slope;
}

// The position at which all phases are zero, negated: from slow pairs, whose phase has not gone
// round, to fast ones, which say it more exactly.
double offset_of(const std::vector<Line>& lines, double bar, double span) {
  std::vector<size_t> order(lines.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::sort(order, {}, [&](size_t j) { return std::abs(lines[j].slope); });
  double offset = 0;
  for (const size_t j : order) {
    const Line& line = lines[j];
    // One whose phase is noise would say any offset.
    if (std::abs(line.slope) * span < 1e3 * bar) continue;
    const Complex left = std::polar(1.0, line.intercept - line.slope * offset);
    offset += std::arg(left) / line.slope;
  }
  return std::abs(offset - std::round(offset)) < 1e-2 ? std::round(offset) : offset;
}

bool follow_one_another(std::span<const double> positions) {
  size_t n = 0;
  for (size_t t = 1; t < positions.size(); ++t) n += positions[t] - positions[t - 1] == 1;
  return n + 1 >= kFewestPositions;
}

double span_of(std::span<const double> positions) {
  const auto [least, most] = std::ranges::minmax(positions);
  return most - least;
}

// Fills frequency, offset and factor from what each pair does.
void fit(Rotation& r, const std::vector<Turns>& pairs, std::span<const double> positions,
         double bar) {
  double length = 0, weight = 0;
  std::vector<Line> lines;
  for (const Turns& turns : pairs) {
    lines.push_back(line_of(turns.phasor, positions));
    for (size_t t = 0; t < turns.weight.size(); ++t) {
      length += std::abs(turns.phasor[t]);
      weight += turns.weight[t];
    }
  }
  r.factor = weight > 0 ? length / weight : 1;
  // Within the bar a factor is no factor.
  if (std::abs(r.factor - 1) <= bar) r.factor = 1;
  r.offset = offset_of(lines, bar, span_of(positions));
  r.frequency.clear();
  for (size_t j = 0; j < pairs.size(); ++j) {
    r.frequency.push_back(slope_through(pairs[j].phasor, positions, lines[j].slope, r.offset));
  }
}

// First and last channel that differ anywhere.
std::pair<int64_t, int64_t> changed_channels(const Array& x, const Array& y, double bar) {
  std::pair<int64_t, int64_t> changed{x.width(), -1};
  for (int64_t c = 0; c < x.width(); ++c) {
    double dd = 0, xx = 0;
    for (int64_t r = 0; r < x.rows(); ++r) {
      const double d = at(y, r, c) - at(x, r, c);
      dd += d * d;
      xx += at(x, r, c) * at(x, r, c);
    }
    if (std::sqrt(dd) <= bar * std::sqrt(xx)) continue;
    changed.first = std::min(changed.first, c);
    changed.second = c;
  }
  return changed;
}

std::vector<bool> same_parts(const Array& x, const Array& y, double bar, int axis) {
  const int64_t n_tokens = x.dim(0), n_heads = x.dim(1), width = x.dim(2);
  const auto n = static_cast<size_t>(axis == 0 ? n_tokens : n_heads);
  std::vector<double> dd(n), xx(n);
  for (int64_t t = 0; t < n_tokens; ++t) {
    for (int64_t h = 0; h < n_heads; ++h) {
      const auto part = static_cast<size_t>(axis == 0 ? t : h);
      for (int64_t i = 0; i < width; ++i) {
        const auto element = static_cast<size_t>((t * n_heads + h) * width + i);
        const double d = y.values[element] - x.values[element];
        dd[part] += d * d;
        xx[part] += x.values[element] * x.values[element];
      }
    }
  }
  std::vector<bool> same;
  for (size_t i = 0; i < n; ++i) same.push_back(std::sqrt(dd[i]) <= bar * std::sqrt(xx[i]));
  return same;
}

}  // namespace

std::string_view pairing_name(Pairing pairing) noexcept {
  constexpr std::string_view kNames[] = {"half", "interleaved", "interleaved_to_half"};
  return kNames[static_cast<int>(pairing)];
}

Array rotate(const Array& x, std::span<const double> positions, const Rotation& rotation) {
  const int64_t n_tokens = x.dim(0), n_heads = x.dim(1), width = x.dim(2);
  Array y = x;
  for (int64_t t = 0; t < n_tokens; ++t) {
    const double position = positions[static_cast<size_t>(t)] + rotation.offset;
    for (int64_t j = 0; j < rotation.width / 2; ++j) {
      const Complex turn =
          std::polar(rotation.factor, rotation.frequency[static_cast<size_t>(j)] * position);
      const Places at = places(rotation, j);
      for (int64_t h = 0; h < n_heads; ++h) {
        const double* from = x.values.data() + (t * n_heads + h) * width;
        double* to = y.values.data() + (t * n_heads + h) * width;
        const Complex out = Complex(from[at.in[0]], from[at.in[1]]) * turn;
        to[at.out[0]] = out.real();
        to[at.out[1]] = out.imag();
      }
    }
  }
  return y;
}

std::optional<Rotation> measure_rotation(const Array& x, const Array& y,
                                         std::span<const double> positions, double bar) {
  if (x.rank() != 3 || x.shape != y.shape || !follow_one_another(positions)) return {};
  if (reproduces(x, y, bar)) return Rotation{};
  const int64_t width = x.dim(2);
  const auto [first_changed, last_changed] = changed_channels(x, y, bar);
  for (int64_t n = 2; n <= width; n += 2) {
    for (const int64_t first : {int64_t{0}, width - n}) {
      if (first_changed < first || last_changed >= first + n) continue;
      for (const Pairing pairing :
           {Pairing::kHalf, Pairing::kInterleaved, Pairing::kInterleavedToHalf}) {
        Rotation rotation{pairing, first, n, {}, 0, 1};
        std::vector<Turns> pairs;
        for (int64_t j = 0; j < n / 2; ++j) pairs.push_back(turns_of(x, y, rotation, j));
        fit(rotation, pairs, positions, bar);
        if (reproduces(rotate(x, positions, rotation), y, bar)) return rotation;
      }
      if (n == width) break;
    }
  }
  return {};
}

std::optional<Rotation> measure_tables(const Array& cosines, const Array& sines, Pairing pairing,
                                       std::span<const double> positions, double bar) {
  const int64_t n = cosines.width() / 2;
  if (cosines.shape != sines.shape || n == 0 || !follow_one_another(positions)) return {};
  Rotation rotation{pairing, 0, 2 * n, {}, 0, 1};
  std::vector<Turns> pairs;
  for (int64_t j = 0; j < n; ++j) {
    const int64_t column = pairing == Pairing::kHalf ? j : 2 * j;
    Turns turns;
    for (int64_t t = 0; t < cosines.rows(); ++t) {
      turns.phasor.emplace_back(at(cosines, t, column), at(sines, t, column));
      turns.weight.push_back(1);
    }
    pairs.push_back(std::move(turns));
  }
  fit(rotation, pairs, positions, bar);
  Array made_cos = cosines, made_sin = sines;
  for (int64_t t = 0; t < cosines.rows(); ++t) {
    for (int64_t c = 0; c < 2 * n; ++c) {
      const int64_t j = pairing == Pairing::kHalf ? c % n : c / 2;
      const double angle = rotation.frequency[static_cast<size_t>(j)] *
                           (positions[static_cast<size_t>(t)] + rotation.offset);
      at(made_cos, t, c) = rotation.factor * std::cos(angle);
      at(made_sin, t, c) = rotation.factor * std::sin(angle);
    }
  }
  if (!reproduces(made_cos, cosines, bar) || !reproduces(made_sin, sines, bar)) return {};
  return rotation;
}

std::vector<bool> same_heads(const Array& x, const Array& y, double bar) {
  return same_parts(x, y, bar, 1);
}

std::vector<bool> same_tokens(const Array& x, const Array& y, double bar) {
  return same_parts(x, y, bar, 0);
}

}  // namespace lockstep::parity::measure
