#include "parity/measure/norm.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "parity/measure/pattern.h"

namespace lockstep::parity::measure {
namespace {

struct Moments {
  double mean = 0, squares = 0;
};

Moments moments_of(std::span<const double> x, const NormForm& form) {
  Moments m;
  const auto n = static_cast<double>(x.size());
  if (form.centre == Centre::kMean) m.mean = std::accumulate(x.begin(), x.end(), 0.0) / n;
  for (const double v : x) m.squares += (v - m.mean) * (v - m.mean);
  if (form.squares == Squares::kMean) m.squares /= n;
  if (form.squares == Squares::kUnbiased) m.squares /= std::max(1.0, n - 1);
  return m;
}

double denominator_of(double squares, const NormForm& form) {
  return form.epsilon == Epsilon::kInside ? std::sqrt(squares + form.eps)
                                          : std::sqrt(squares) + form.eps;
}

double weight_at(const Array& weight, int64_t r, int64_t c, double offset) {
  if (weight.values.empty()) return 1;
  return at(weight, r % weight.rows(), c) + offset;
}

}  // namespace

Array norm(const Array& x, const Array& weight, const Array& bias, const NormForm& form) {
  Array y = x;
  for (int64_t r = 0; r < x.rows(); ++r) {
    const Moments m = moments_of(row(x, r), form);
    const double denominator = denominator_of(m.squares, form);
    for (int64_t c = 0; c < x.width(); ++c) {
      double& out = at(y, r, c);
      out = (out - m.mean) / denominator * weight_at(weight, r, c, form.weight_offset);
      if (!bias.values.empty()) out += at(bias, r % bias.rows(), c);
    }
  }
  return y;
}

std::optional<MeasuredEpsilon> measure_epsilon(const Array& x, const Array& y, const Array& weight,
                                               const Array& bias, NormForm form, double bar) {
  if (x.values.size() != y.values.size()) return {};
  // Each row says an epsilon as exactly as its own squares are small; they are averaged so.
  double sum = 0, weights = 0;
  for (int64_t r = 0; r < x.rows(); ++r) {
    const Moments m = moments_of(row(x, r), form);
    double yx = 0, xx = 0;
    for (int64_t c = 0; c < x.width(); ++c) {
      const double in = (at(x, r, c) - m.mean) * weight_at(weight, r, c, form.weight_offset);
      const double shift = bias.values.empty() ? 0 : at(bias, r % bias.rows(), c);
      yx += (y.values[static_cast<size_t>(r * x.width() + c)] - shift) * in;
      xx += in * in;
    }
    if (!(yx > 0) || !(xx > 0)) continue;
    const double denominator = xx / yx;
    const bool inside = form.epsilon == Epsilon::kInside;
    const double eps =
        inside ? denominator * denominator - m.squares : denominator - std::sqrt(m.squares);
    const double unit = inside ? m.squares + std::abs(eps) : denominator;
    sum += eps / (unit * unit);
    weights += 1 / (unit * unit);
  }
  if (!(weights > 0)) return {};
  MeasuredEpsilon measured{sum / weights, 2 * bar / std::sqrt(weights)};
  if (measured.eps < -4 * measured.error) return {};
  form.eps = std::max(0.0, measured.eps);
  if (!reproduces(norm(x, weight, bias, form), y, bar)) return {};
  measured.eps = form.eps;
  return measured;
}

std::optional<std::vector<double>> measure_weight(const Array& x, const Array& y,
                                                  const NormForm& form, double bar) {
  if (x.rows() < 2) return {};
  Array flat = y;
  flat.shape = x.shape;
  return column_factors(flat, norm(x, {}, {}, form), bar);
}

}  // namespace lockstep::parity::measure
