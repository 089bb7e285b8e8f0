// By how many positions a rotated vector was rotated too far, measured from its angles.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace lockstep::parity {

/// Two vectors of the same token, [heads, width] each with an unknown number of heads.
struct RotatedPair {
  std::span<const float> from, to;
};

/// The whole number of positions between two rotations of one vector, or nothing where no such
/// number explains the difference. `first` is a token at position 1 before and after its rotation,
/// which gives the frequencies; `found` is a vector as it should be rotated and as it was, at
/// `position`. Pairs are neighbours or halves of any even width that divides the vector, whichever
/// keeps the pairs' lengths.
std::optional<int64_t> rotation_shift(const RotatedPair& first, const RotatedPair& found,
                                      int64_t position);

}  // namespace lockstep::parity
