// A tensor that owns its host memory.
#include "tensor/tensor.h"

#include <fmt/format.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "lockstep/error.h"

namespace lockstep {
namespace {

constexpr size_t kAlignment = 64;

// Copies the sub-view at dimension `dim`; whole runs where the source has them.
std::byte* copy_strided(const View& view, int dim, const std::byte* from, std::byte* to) {
  const size_t size = dtype_size(view.dtype);
  if (dim == view.rank) {
    std::memcpy(to, from, size);
    return to + size;
  }
  const auto d = static_cast<size_t>(dim);
  if (dim + 1 == view.rank && view.stride[d] == 1) {
    const size_t bytes = static_cast<size_t>(view.shape[d]) * size;
    std::memcpy(to, from, bytes);
    return to + bytes;
  }
  for (int64_t i = 0; i < view.shape[d]; ++i) {
    to = copy_strided(view, dim + 1, from + i * view.stride[d] * static_cast<int64_t>(size), to);
  }
  return to;
}

}  // namespace

void Tensor::Free::operator()(void* p) const noexcept { std::free(p); }

Tensor::Tensor(DType dtype, std::span<const int64_t> shape) {
  view_ = make_view(nullptr, dtype, shape);
  // An empty tensor still has an address, so that empty() means "no tensor".
  const size_t bytes = view_.bytes() > 0 ? view_.bytes() : 1;
  // calloc takes large blocks zeroed from the system and touches none of them: a cache made for a
  // long context costs what is used of it.
  memory_.reset(bytes <= SIZE_MAX - kAlignment ? std::calloc(1, bytes + kAlignment) : nullptr);
  if (memory_ == nullptr) {
    throw Error(
        ErrorCode::kResourceExhausted,
        fmt::format("tensor {}: cannot allocate {} bytes of host memory", to_string(view_), bytes),
        "free memory, or use a smaller model, batch or context");
  }
  const auto address = reinterpret_cast<uintptr_t>(memory_.get());
  view_.data = reinterpret_cast<void*>((address + kAlignment - 1) / kAlignment * kAlignment);
}

Tensor Tensor::copy_of(const View& view) {
  if (view.device != DeviceKind::kCpu) {
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("tensor {}: expected host memory, found device memory", to_string(view)),
        "copy it to the host first");
  }
  Tensor copy(view.dtype, {view.shape.data(), static_cast<size_t>(view.rank)});
  if (view.elements() == 0) return copy;
  if (view.is_contiguous()) {
    std::memcpy(copy.view_.data, view.data, view.bytes());
  } else {
    copy_strided(view, 0, view.as<const std::byte>(), copy.data<std::byte>());
  }
  return copy;
}

}  // namespace lockstep
