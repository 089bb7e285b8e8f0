// Element types: names, sizes, and exact conversions between the floating ones.
#include "tensor/dtype.h"

#include <cmath>
#include <cstring>
#include <limits>

namespace lockstep {
namespace {

struct Info {
  DType dtype;
  std::string_view name;
  std::string_view safetensors_name;
  uint8_t bytes;
  bool floating;
};

// In the order of the enum.
constexpr Info kInfos[] = {
    {DType::kBool, "bool", "BOOL", 1, false},
    {DType::kUint8, "uint8", "U8", 1, false},
    {DType::kInt8, "int8", "I8", 1, false},
    {DType::kUint16, "uint16", "U16", 2, false},
    {DType::kInt16, "int16", "I16", 2, false},
    {DType::kUint32, "uint32", "U32", 4, false},
    {DType::kInt32, "int32", "I32", 4, false},
    {DType::kUint64, "uint64", "U64", 8, false},
    {DType::kInt64, "int64", "I64", 8, false},
    {DType::kFloat8E4M3, "float8_e4m3fn", "F8_E4M3", 1, true},
    {DType::kFloat8E5M2, "float8_e5m2", "F8_E5M2", 1, true},
    {DType::kFloat16, "float16", "F16", 2, true},
    {DType::kBFloat16, "bfloat16", "BF16", 2, true},
    {DType::kFloat32, "float32", "F32", 4, true},
    {DType::kFloat64, "float64", "F64", 8, true},
};

constexpr bool in_enum_order() {
  for (size_t i = 0; i < std::size(kInfos); ++i) {
    if (static_cast<size_t>(kInfos[i].dtype) != i) return false;
  }
  return true;
}
static_assert(in_enum_order());

const Info& info(DType dtype) noexcept { return kInfos[static_cast<size_t>(dtype)]; }

template <class T>
T load(const void* data, int64_t index) noexcept {
  T value;
  std::memcpy(&value, static_cast<const std::byte*>(data) + index * static_cast<int64_t>(sizeof(T)),
              sizeof(T));
  return value;
}

// 1 sign, 4 exponent (bias 7), 3 mantissa bits; no infinities, NaN is all ones.
double float8_e4m3_to_double(uint8_t x) noexcept {
  const int exponent = (x >> 3) & 0xf, mantissa = x & 0x7;
  if ((x & 0x7f) == 0x7f) return std::numeric_limits<double>::quiet_NaN();
  const double magnitude =
      exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
  return (x & 0x80) != 0 ? -magnitude : magnitude;
}

}  // namespace

size_t dtype_size(DType dtype) noexcept { return info(dtype).bytes; }
std::string_view dtype_name(DType dtype) noexcept { return info(dtype).name; }
std::string_view dtype_safetensors_name(DType dtype) noexcept {
  return info(dtype).safetensors_name;
}
bool is_floating(DType dtype) noexcept { return info(dtype).floating; }

std::optional<DType> dtype_from_name(std::string_view name) noexcept {
  for (const Info& entry : kInfos) {
    if (entry.name == name) return entry.dtype;
  }
  return std::nullopt;
}

std::optional<DType> dtype_from_safetensors_name(std::string_view name) noexcept {
  for (const Info& entry : kInfos) {
    if (entry.safetensors_name == name) return entry.dtype;
  }
  return std::nullopt;
}

float float16_to_float(uint16_t x) noexcept {
  const uint32_t sign = static_cast<uint32_t>(x & 0x8000u) << 16;
  const uint32_t exponent = (x >> 10) & 0x1fu, mantissa = x & 0x3ffu;
  if (exponent == 0x1f) {
    // A signalling NaN is made quiet, as the hardware conversions do.
    const uint32_t quiet = mantissa != 0 ? 0x400000u : 0u;
    return std::bit_cast<float>(sign | 0x7f800000u | quiet | (mantissa << 13));
  }
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
  }
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

uint16_t float_to_float16(float x) noexcept {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) {
    return static_cast<uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
  }
  // 65520 and above round to infinity.
  if (magnitude >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);
  if (magnitude >= 0x38800000u) {
    // Round to even on the 13 bits that are lost; a carry moves into the exponent as it should.
    const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
    return static_cast<uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
  }
  // Subnormal: adding 0.5 leaves the value in units of 2^-24 in the mantissa, rounded to even.
  const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
  return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000u));
}

double load_element(const void* data, DType dtype, int64_t index) noexcept {
  switch (dtype) {
    case DType::kBool:
      return load<uint8_t>(data, index) != 0 ? 1.0 : 0.0;
    case DType::kUint8:
      return load<uint8_t>(data, index);
    case DType::kInt8:
      return load<int8_t>(data, index);
    case DType::kUint16:
      return load<uint16_t>(data, index);
    case DType::kInt16:
      return load<int16_t>(data, index);
    case DType::kUint32:
      return load<uint32_t>(data, index);
    case DType::kInt32:
      return load<int32_t>(data, index);
    case DType::kUint64:
      return static_cast<double>(load<uint64_t>(data, index));
    case DType::kInt64:
      return static_cast<double>(load<int64_t>(data, index));
    case DType::kFloat8E4M3:
      return float8_e4m3_to_double(load<uint8_t>(data, index));
    // float8_e5m2 is the upper half of a float16.
    case DType::kFloat8E5M2:
      return float16_to_float(static_cast<uint16_t>(load<uint8_t>(data, index) << 8));
    case DType::kFloat16:
      return float16_to_float(load<uint16_t>(data, index));
    case DType::kBFloat16:
      return bfloat16_to_float(load<uint16_t>(data, index));
    case DType::kFloat32:
      return load<float>(data, index);
    case DType::kFloat64:
      return load<double>(data, index);
  }
  return 0.0;
}

}  // namespace lockstep
