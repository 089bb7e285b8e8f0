// One element of a float32, bfloat16 or float16 buffer, as the reference kernels read and write
// it. Addresses need not be aligned: weights are mapped as they lie in their file.
#pragma once

#include <cstring>

#include "tensor/dtype.h"

namespace lockstep {

template <class T>
T load_unaligned(const void* data, int64_t index) noexcept {
  T value;
  std::memcpy(&value, static_cast<const char*>(data) + index * static_cast<int64_t>(sizeof(T)),
              sizeof(T));
  return value;
}

/// Element `index` of `data`, widened exactly.
inline float load_float(const void* data, DType dtype, int64_t index) noexcept {
  switch (dtype) {
    case DType::kBFloat16:
      return bfloat16_to_float(load_unaligned<uint16_t>(data, index));
    case DType::kFloat16:
      return float16_to_float(load_unaligned<uint16_t>(data, index));
    default:
      return load_unaligned<float>(data, index);
  }
}

/// Stores `value` rounded to nearest even.
inline void store_float(void* data, DType dtype, int64_t index, float value) noexcept {
  switch (dtype) {
    case DType::kBFloat16:
      static_cast<uint16_t*>(data)[index] = float_to_bfloat16(value);
      return;
    case DType::kFloat16:
      static_cast<uint16_t*>(data)[index] = float_to_float16(value);
      return;
    default:
      static_cast<float*>(data)[index] = value;
  }
}

/// `value` rounded to `dtype` and widened again.
inline float round_to(DType dtype, float value) noexcept {
  switch (dtype) {
    case DType::kBFloat16:
      return bfloat16_to_float(float_to_bfloat16(value));
    case DType::kFloat16:
      return float16_to_float(float_to_float16(value));
    default:
      return value;
  }
}

/// The address of element `index`.
inline const void* element(const void* data, DType dtype, int64_t index) noexcept {
  return static_cast<const char*>(data) + index * static_cast<int64_t>(dtype_size(dtype));
}
inline void* element(void* data, DType dtype, int64_t index) noexcept {
  return static_cast<char*>(data) + index * static_cast<int64_t>(dtype_size(dtype));
}

}  // namespace lockstep
