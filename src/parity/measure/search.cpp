#include "parity/measure/search.h"

#include <cmath>

namespace lockstep::parity::measure {

double golden_section(const std::function<double(double)>& f, double low, double high) {
  constexpr double kGolden = 0.6180339887498949;
  double a = high - kGolden * (high - low), b = low + kGolden * (high - low);
  double at_a = f(a), at_b = f(b);
  for (int i = 0; i < 60; ++i) {
    if (at_a < at_b) {
      high = b;
      b = a;
      at_b = at_a;
      a = high - kGolden * (high - low);
      at_a = f(a);
    } else {
      low = a;
      a = b;
      at_a = at_b;
      b = low + kGolden * (high - low);
      at_b = f(b);
    }
  }
  return at_a < at_b ? a : b;
}

double least_positive(const std::function<double(double)>& f, double low, double high,
                      int per_octave) {
  const double step = 1.0 / per_octave;
  const double from = std::log2(low), to = std::log2(high);
  double best = from, least = f(low);
  for (double at = from + step; at <= to; at += step) {
    const double value = f(std::exp2(at));
    if (value < least) {
      least = value;
      best = at;
    }
  }
  return std::exp2(
      golden_section([&](double at) { return f(std::exp2(at)); }, best - step, best + step));
}

}  // namespace lockstep::parity::measure
