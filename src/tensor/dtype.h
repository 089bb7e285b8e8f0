// Element types of tensors, as safetensors and numpy store them.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace lockstep {

enum class DType : uint8_t {
  kBool,
  kUint8,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kUint64,
  kInt64,
  kFloat8E4M3,
  kFloat8E5M2,
  kFloat16,
  kBFloat16,
  kFloat32,
  kFloat64,
};

/// Bytes of one element.
size_t dtype_size(DType dtype) noexcept;
/// "float32", "bfloat16", ...: the names of torch, used in flags, manifests and messages.
std::string_view dtype_name(DType dtype) noexcept;
std::optional<DType> dtype_from_name(std::string_view name) noexcept;
/// "F32", "BF16", ...: the names of safetensors.
std::string_view dtype_safetensors_name(DType dtype) noexcept;
std::optional<DType> dtype_from_safetensors_name(std::string_view name) noexcept;
bool is_floating(DType dtype) noexcept;

/// bfloat16 <-> float32: round to nearest even, NaN stays NaN.
inline float bfloat16_to_float(uint16_t x) noexcept {
  return std::bit_cast<float>(static_cast<uint32_t>(x) << 16);
}
inline uint16_t float_to_bfloat16(float x) noexcept {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
/// float16 <-> float32: exact one way, round to nearest even the other; infinities and NaN kept.
float float16_to_float(uint16_t x) noexcept;
uint16_t float_to_float16(float x) noexcept;

/// Element `index` of a buffer of `dtype`, widened (bool is 0 or 1); for tools and tests.
double load_element(const void* data, DType dtype, int64_t index) noexcept;

}  // namespace lockstep
