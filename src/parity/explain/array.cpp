#include "parity/explain/array.h"

#include <cmath>
#include <limits>

#include "lockstep/error.h"
#include "tensor/tensor.h"

namespace lockstep::parity {

Array to_array(const View& view) {
  Array array{{view.shape.begin(), view.shape.begin() + view.rank}, {}};
  const Tensor copy = view.is_contiguous() ? Tensor() : Tensor::copy_of(view);
  const View& from = copy.empty() ? view : copy.view();
  array.values.resize(static_cast<size_t>(from.elements()));
  for (int64_t i = 0; i < from.elements(); ++i) {
    array.values[static_cast<size_t>(i)] = load_element(from.data, from.dtype, i);
  }
  return array;
}

Array reshaped(Array array, std::vector<int64_t> shape) {
  int64_t n = 1;
  for (const int64_t d : shape) n *= d;
  if (n != array.elements()) throw Error(ErrorCode::kInternal, "reshaped: other elements");
  array.shape = std::move(shape);
  return array;
}

double distance(const Array& found, const Array& expected) {
  if (found.values.size() != expected.values.size()) return std::numeric_limits<double>::infinity();
  double dd = 0, ee = 0;
  for (size_t i = 0; i < found.values.size(); ++i) {
    const double d = found.values[i] - expected.values[i];
    dd += d * d;
    ee += expected.values[i] * expected.values[i];
  }
  if (!std::isfinite(dd) || !std::isfinite(ee)) return std::numeric_limits<double>::infinity();
  if (ee > 0) return std::sqrt(dd / ee);
  return dd > 0 ? std::numeric_limits<double>::infinity() : 0;
}

}  // namespace lockstep::parity
