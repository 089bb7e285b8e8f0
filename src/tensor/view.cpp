// A typed, strided window on memory that somebody else owns.
#include "tensor/view.h"

#include <fmt/format.h>

#include <algorithm>

#include "lockstep/error.h"

namespace lockstep {

int64_t View::elements() const noexcept {
  int64_t n = 1;
  for (int i = 0; i < rank; ++i) n *= shape[static_cast<size_t>(i)];
  return n;
}

bool View::is_contiguous() const noexcept {
  int64_t expected = 1;
  for (int i = rank - 1; i >= 0; --i) {
    const auto d = static_cast<size_t>(i);
    if (shape[d] == 0) return true;
    if (shape[d] != 1 && stride[d] != expected) {
      // Nothing is ever stepped over when another dimension is empty.
      return elements() == 0;
    }
    expected *= shape[d];
  }
  return true;
}

int64_t View::rows() const noexcept {
  int64_t n = 1;
  for (int i = 0; i + 1 < rank; ++i) n *= shape[static_cast<size_t>(i)];
  return n;
}

View make_view(const void* data, DType dtype, std::span<const int64_t> shape, DeviceKind device) {
  if (shape.size() > kMaxRank) {
    throw Error(
        ErrorCode::kOutOfRange,
        fmt::format("view: expected at most {} dimensions, found {}", kMaxRank, shape.size()));
  }
  const int64_t n = checked_product(shape);
  int64_t bytes = 0;
  if (n < 0 || __builtin_mul_overflow(n, static_cast<int64_t>(dtype_size(dtype)), &bytes)) {
    throw Error(ErrorCode::kOutOfRange,
                fmt::format("view {}[{}]: expected sizes whose product fits in 64 bits",
                            dtype_name(dtype), fmt::join(shape, ", ")));
  }
  View view;
  view.data = const_cast<void*>(data);
  view.dtype = dtype;
  view.device = device;
  view.rank = static_cast<int>(shape.size());
  int64_t stride = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    view.shape[i] = shape[i];
    view.stride[i] = stride;
    stride *= std::max<int64_t>(shape[i], 1);
  }
  return view;
}

std::string to_string(const View& view) {
  const std::span<const int64_t> shape(view.shape.data(), static_cast<size_t>(view.rank));
  return fmt::format("{}[{}]", dtype_name(view.dtype), fmt::join(shape, ", "));
}

}  // namespace lockstep
