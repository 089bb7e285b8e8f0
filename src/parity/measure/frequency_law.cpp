#include "parity/measure/frequency_law.h"

#include <algorithm>
#include <cmath>

namespace lockstep::parity::measure {
namespace {

constexpr size_t kFewest = 3;
// inv_freq is held in float32, its logarithm in what the reference computes it in.
constexpr double kRelative = 2e-6;

bool near(double a, double b, double tolerance) {
  return std::abs(a - b) <= tolerance + kRelative * std::max(std::abs(a), std::abs(b));
}

bool all_near(std::span<const double> a, std::span<const double> b, double tolerance) {
  return std::ranges::equal(a, b, [&](double x, double y) { return near(x, y, tolerance); });
}

std::vector<double> negated(std::span<const double> x) {
  std::vector<double> out(x.begin(), x.end());
  for (double& v : out) v = -v;
  return out;
}

bool same_in_any_order(std::span<const double> a, std::span<const double> b, double tolerance) {
  std::vector<double> x(a.begin(), a.end()), y(b.begin(), b.end());
  std::ranges::sort(x);
  std::ranges::sort(y);
  return all_near(x, y, tolerance);
}

// Whether `scaled` is `plain` where it is fast and less, ever more so, where it is slow.
bool is_slowed(std::span<const double> plain, std::span<const double> scaled, double tolerance) {
  if (!near(plain.front(), scaled.front(), tolerance)) return false;
  double last = 1;
  for (size_t j = 0; j < plain.size(); ++j) {
    if (std::abs(plain[j]) <= 10 * tolerance) break;
    const double ratio = scaled[j] / plain[j];
    const double slack = kRelative + 4 * tolerance / std::abs(plain[j]);
    if (ratio > last + slack || ratio <= 0) return false;
    last = std::min(last, ratio);
  }
  return last < 1;
}

double slowest_ratio(std::span<const double> port, std::span<const double> reference,
                     double tolerance) {
  for (size_t j = port.size(); j-- > 0;) {
    if (std::abs(port[j]) > 10 * tolerance) return reference[j] / port[j];
  }
  return 1;
}

}  // namespace

std::optional<FrequencyLaw> power_law(std::span<const double> frequency, double tolerance) {
  if (frequency.size() < kFewest) return {};
  const double step = 1.0 / static_cast<double>(frequency.size());
  // Errors of all frequencies are alike, so those of the logarithms go as their inverse.
  double w = 0, wx = 0, wxx = 0, wy = 0, wxy = 0;
  size_t n = 0;
  for (size_t j = 0; j < frequency.size(); ++j) {
    if (frequency[j] <= 4 * tolerance) continue;
    const double weight = frequency[j] * frequency[j];
    const double x = static_cast<double>(j) * step, y = std::log(frequency[j]);
    w += weight;
    wx += weight * x;
    wxx += weight * x * x;
    wy += weight * y;
    wxy += weight * x * y;
    ++n;
  }
  const double determinant = w * wxx - wx * wx;
  if (n < kFewest || determinant <= 0) return {};
  double slope = (w * wxy - wx * wy) / determinant;
  double height = (wy - slope * wx) / w;
  if (std::abs(height) <= 4 * tolerance + kRelative) {
    height = 0;
    slope = wxy / wxx;
  }
  const FrequencyLaw law{std::exp(-slope), std::exp(-height)};
  for (size_t j = 0; j < frequency.size(); ++j) {
    const double x = static_cast<double>(j) * step;
    if (!near(frequency[j], std::exp(height + slope * x), 4 * tolerance)) return {};
  }
  return law;
}

FrequencyComparison compare_frequencies(std::span<const double> port,
                                        std::span<const double> reference, double tolerance) {
  FrequencyComparison result;
  if (port.size() != reference.size() || port.empty()) {
    result.fault =
        port.size() == reference.size() ? FrequencyFault::kNone : FrequencyFault::kUnknown;
    return result;
  }
  if (all_near(port, reference, tolerance)) return result;
  result.ratio = slowest_ratio(port, reference, tolerance);
  const auto a = power_law(port, tolerance), b = power_law(reference, tolerance);
  if (a) result.port = *a;
  if (b) result.reference = *b;
  const auto same = [&](double x, double y) { return std::abs(std::log(x / y)) < 1e-3; };
  if (all_near(negated(port), reference, tolerance)) {
    result.fault = FrequencyFault::kSign;
  } else if (a && b && a->factor == b->factor) {
    result.fault = FrequencyFault::kBase;
  } else if (a && b && same(a->base, b->base)) {
    result.fault = FrequencyFault::kLinear;
  } else if (same_in_any_order(port, reference, tolerance)) {
    result.fault = FrequencyFault::kOrder;
  } else if (a && !b && is_slowed(port, reference, tolerance)) {
    result.fault = FrequencyFault::kScalingIgnored;
  } else if (b && !a && is_slowed(reference, port, tolerance)) {
    result.fault = FrequencyFault::kScalingAdded;
  } else {
    result.fault = FrequencyFault::kUnknown;
  }
  return result;
}

}  // namespace lockstep::parity::measure
