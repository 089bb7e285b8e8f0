// Values that isolated replay feeds to a piece of the graph, and how far apart two results are.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "tensor/tensor.h"

namespace lockstep::parity {

bool is_integer(DType dtype) noexcept;

/// A contiguous copy of `from` as `dtype` (int32, float32 or bfloat16) with these sizes; the number
/// of elements agrees.
Tensor convert(const View& from, DType dtype, const std::vector<int64_t>& shape);

/// Which way floats are moved: each its own, or those of a row (the last dimension) together. The
/// second is what a rounded product of two rows does, such as a score: its error is one rounding of
/// the product, however well the errors of the elements would have cancelled.
enum class Nudge : uint8_t { kElements, kRows };

/// A copy of `from` whose floats are each one unit in the last place larger or smaller in
/// magnitude, at random; zeros and what is not finite stay, and so do integers.
Tensor nudged(const View& from, Nudge kind, std::mt19937_64& random);

/// Relative L2 of two arrays of as many elements. Of integers, which are ids in an order of no
/// meaning: the share of rows (all but the last dimension) that hold others.
double difference(const View& found, const View& expected);

}  // namespace lockstep::parity
