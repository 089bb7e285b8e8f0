#include "parity/explain/array.h"

#include <cmath>
#include <limits>
#include <utility>

#include "lockstep/error.h"
#include "tensor/tensor.h"

namespace lockstep::parity {

Array to_array(const View& view) {
  Array array;
  array.shape.assign(view.shape.begin(), view.shape.begin() + view.rank);
  array.values.resize(static_cast<size_t>(view.elements()));
  if (view.is_contiguous()) {
    for (size_t i = 0; i < array.values.size(); ++i) {
      array.values[i] = load_element(view.data, view.dtype, static_cast<int64_t>(i));
    }
    return array;
  }
  const Tensor dense = Tensor::copy_of(view);
  for (size_t i = 0; i < array.values.size(); ++i) {
    array.values[i] = load_element(dense.view().data, view.dtype, static_cast<int64_t>(i));
  }
  return array;
}

Array reshaped(Array array, std::vector<int64_t> shape) {
  int64_t n = 1;
  for (const int64_t size : shape) n *= size;
  if (n != array.elements()) throw Error(ErrorCode::kInternal, "reshaped: other elements");
  array.shape = std::move(shape);
  return array;
}

double distance(const Array& found, const Array& expected) {
  constexpr double kFar = std::numeric_limits<double>::infinity();
  if (found.values.size() != expected.values.size()) return kFar;
  double energy = 0, norm = 0;
  for (size_t i = 0; i < found.values.size(); ++i) {
    const double d = found.values[i] - expected.values[i];
    energy += d * d;
    norm += expected.values[i] * expected.values[i];
  }
  if (!std::isfinite(energy) || !std::isfinite(norm)) return kFar;
  if (norm == 0) return energy == 0 ? 0 : kFar;
  return std::sqrt(energy / norm);
}

}  // namespace lockstep::parity
