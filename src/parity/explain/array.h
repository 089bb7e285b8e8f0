// A dense tensor in double precision: what formulas are evaluated on.
#pragma once

#include <cstdint>
#include <vector>

#include "tensor/view.h"

namespace lockstep::parity {

/// Row-major; no batch dimension. Integers are held exactly.
struct Array {
  std::vector<int64_t> shape;
  std::vector<double> values;

  int64_t elements() const { return static_cast<int64_t>(values.size()); }
  /// Dimension `i`; negative counts from the end.
  int64_t dim(int i) const { return shape[static_cast<size_t>(i < 0 ? i + rank() : i)]; }
  int rank() const { return static_cast<int>(shape.size()); }
  /// The last dimension, and how often it is there.
  int64_t width() const { return shape.empty() ? 1 : shape.back(); }
  int64_t rows() const { return width() == 0 ? 0 : elements() / width(); }
  const double* row(int64_t r) const { return values.data() + r * width(); }
  double* row(int64_t r) { return values.data() + r * width(); }
};

Array to_array(const View& view);
/// The same elements under another shape; throws kInternal when their number differs.
Array reshaped(Array array, std::vector<int64_t> shape);
/// |found - expected| / |expected|; infinity where the sizes differ or a value is not finite.
double distance(const Array& found, const Array& expected);

}  // namespace lockstep::parity
