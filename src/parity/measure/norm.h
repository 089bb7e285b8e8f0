// Norms over the last dimension, in every form that ports mix up, and what can be read off their
// outcome: the epsilon of each row, the factor of each channel.
//
//   out = (x - [mean]) / denominator * (weight + offset) + bias
//   denominator = sqrt(m + eps) or sqrt(m) + eps, m = the mean (or sum) of squares
#pragma once

#include <optional>
#include <vector>

#include "parity/measure/matrix.h"

namespace lockstep::parity::measure {

enum class Centre : uint8_t { kNone, kMean };
enum class Epsilon : uint8_t { kInside, kOutside };
enum class Squares : uint8_t { kMean, kSum, kUnbiased };  // kUnbiased: over width - 1

struct NormForm {
  Centre centre = Centre::kNone;
  Epsilon epsilon = Epsilon::kInside;
  Squares squares = Squares::kMean;
  double eps = 1e-6, weight_offset = 0;
};

/// x [..., width], weight [width] (or [n, width]: row r takes weight r % n) and bias alike; an
/// empty one is left out.
Array norm(const Array& x, const Array& weight, const Array& bias, const NormForm& form);

/// The epsilon with which y is norm(x, ...) of this form, the same in every row, to within `bar`;
/// and how far it may be off. Nothing when no epsilon does it.
struct MeasuredEpsilon {
  double eps = 0, error = 0;
};
std::optional<MeasuredEpsilon> measure_epsilon(const Array& x, const Array& y, const Array& weight,
                                               const Array& bias, NormForm form, double bar);

/// What the normed x of this form (without weight, offset and bias) is multiplied with, channel by
/// channel, to give y; nothing when it is no constant of the channel.
std::optional<std::vector<double>> measure_weight(const Array& x, const Array& y,
                                                  const NormForm& form, double bar);

}  // namespace lockstep::parity::measure
