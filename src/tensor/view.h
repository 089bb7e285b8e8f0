// A typed, strided window on memory that somebody else owns: what kernels are called with.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "tensor/dtype.h"
#include "tensor/shape.h"

namespace lockstep {

enum class DeviceKind : uint8_t { kCpu, kCuda };

struct View {
  void* data = nullptr;
  DType dtype = DType::kFloat32;
  DeviceKind device = DeviceKind::kCpu;
  int rank = 0;
  std::array<int64_t, kMaxRank> shape{};   // elements
  std::array<int64_t, kMaxRank> stride{};  // elements; row-major when contiguous

  int64_t dim(int i) const noexcept { return shape[i < 0 ? i + rank : i]; }
  int64_t elements() const noexcept;
  size_t bytes() const noexcept { return static_cast<size_t>(elements()) * dtype_size(dtype); }
  bool is_contiguous() const noexcept;
  /// All dimensions but the last, multiplied: the number of rows.
  int64_t rows() const noexcept;

  template <class T>
  T* as() const noexcept {
    return static_cast<T*>(data);
  }
};

/// A contiguous view. `data` may be const memory that will only be read.
View make_view(const void* data, DType dtype, std::span<const int64_t> shape,
               DeviceKind device = DeviceKind::kCpu);
/// "bfloat16[5, 192]".
std::string to_string(const View& view);

}  // namespace lockstep
