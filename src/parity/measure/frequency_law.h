// What rotary frequencies say: the base they are powers of, a factor that all are divided by, and
// in which of these two lists of frequencies differ.
#pragma once

#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace lockstep::parity::measure {

/// frequency[j] = base^(-2 j / width) / factor, width = 2 * their number.
struct FrequencyLaw {
  double base = 0, factor = 1;
};

/// The law that every frequency obeys to within `tolerance` (radians a position); none for fewer
/// than three, which any law would fit, or where one is not positive. A factor within
/// `tolerance` of 1 is 1.
std::optional<FrequencyLaw> power_law(std::span<const double> frequency, double tolerance);

enum class FrequencyFault : uint8_t {
  kNone,
  kSign,            // turns the other way
  kBase,            // another base; the same thing as another exponent's denominator
  kLinear,          // all divided by another factor
  kScalingIgnored,  // the port's are plain powers; the reference divides the slow ones
  kScalingAdded,    // the reverse
  kOrder,           // the reference's, in another order
  kUnknown,
};

struct FrequencyComparison {
  FrequencyFault fault = FrequencyFault::kNone;
  FrequencyLaw port, reference;  // of kBase and kLinear; of the plain side where there is one
  double ratio = 1;              // of the slowest pair, reference's over the port's
};

/// Lists of one length. A pair that both turn by less than `tolerance` says nothing.
FrequencyComparison compare_frequencies(std::span<const double> port,
                                        std::span<const double> reference, double tolerance);

}  // namespace lockstep::parity::measure
