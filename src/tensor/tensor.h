// A tensor that owns its host memory (64-byte aligned, zeroed).
#pragma once

#include <memory>
#include <span>

#include "tensor/view.h"

namespace lockstep {

class Tensor {
 public:
  Tensor() = default;
  /// Throws kResourceExhausted when the memory is not there, kOutOfRange for an impossible shape.
  Tensor(DType dtype, std::span<const int64_t> shape);
  Tensor(DType dtype, std::initializer_list<int64_t> shape)
      : Tensor(dtype, std::span<const int64_t>(shape.begin(), shape.size())) {}
  /// A contiguous copy of `view` (strides resolved).
  static Tensor copy_of(const View& view);

  const View& view() const noexcept { return view_; }
  bool empty() const noexcept { return view_.data == nullptr; }
  template <class T>
  T* data() const noexcept {
    return static_cast<T*>(view_.data);
  }

 private:
  struct Free {
    void operator()(void* p) const noexcept;
  };
  std::unique_ptr<void, Free> memory_;
  View view_;
};

}  // namespace lockstep
