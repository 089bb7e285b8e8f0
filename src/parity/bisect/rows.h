// Rows of numbers: how far apart two are.
#pragma once

#include <span>

namespace lockstep::parity {

/// ||b - a|| / ||a||; 0 where both are 0, infinite where only `a` is, where sizes differ, and where
/// either holds a NaN or infinity that the other has not.
double row_difference(std::span<const float> a, std::span<const float> b) noexcept;
inline bool rows_differ(std::span<const float> a, std::span<const float> b, double bar) noexcept {
  return !(row_difference(a, b) <= bar);
}
bool is_zero(std::span<const float> row) noexcept;

}  // namespace lockstep::parity
