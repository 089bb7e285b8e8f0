// One unknown number, found by search.
#pragma once

#include <functional>

namespace lockstep::parity::measure {

/// Where `f`, which falls and then rises between `low` and `high`, is least; to about 1e-8 of
/// their distance, the square root of what float64 tells apart.
double golden_section(const std::function<double(double)>& f, double low, double high);

/// The positive number near which `f` is least, looked for on a grid of `per_octave` points an
/// octave between `low` and `high`, then closer. f may have several dents.
double least_positive(const std::function<double(double)>& f, double low, double high,
                      int per_octave = 4);

}  // namespace lockstep::parity::measure
