#include "tensor/dtype.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <limits>

namespace lockstep {
namespace {

constexpr DType kAll[] = {
    DType::kBool,       DType::kUint8,   DType::kInt8,     DType::kUint16,  DType::kInt16,
    DType::kUint32,     DType::kInt32,   DType::kUint64,   DType::kInt64,   DType::kFloat8E4M3,
    DType::kFloat8E5M2, DType::kFloat16, DType::kBFloat16, DType::kFloat32, DType::kFloat64,
};

TEST(DType, NamesLeadBackToTheType) {
  for (const DType dtype : kAll) {
    EXPECT_EQ(dtype_from_name(dtype_name(dtype)), dtype);
    EXPECT_EQ(dtype_from_safetensors_name(dtype_safetensors_name(dtype)), dtype);
  }
  EXPECT_EQ(dtype_from_name("F32"), std::nullopt);
  EXPECT_EQ(dtype_from_name(""), std::nullopt);
  EXPECT_EQ(dtype_from_safetensors_name("float32"), std::nullopt);
}

TEST(DType, KnowsSizesAndFloats) {
  EXPECT_EQ(dtype_size(DType::kBool), 1u);
  EXPECT_EQ(dtype_size(DType::kFloat8E4M3), 1u);
  EXPECT_EQ(dtype_size(DType::kBFloat16), 2u);
  EXPECT_EQ(dtype_size(DType::kUint32), 4u);
  EXPECT_EQ(dtype_size(DType::kFloat64), 8u);
  EXPECT_TRUE(is_floating(DType::kFloat8E5M2));
  EXPECT_TRUE(is_floating(DType::kFloat64));
  EXPECT_FALSE(is_floating(DType::kBool));
  EXPECT_FALSE(is_floating(DType::kInt64));
}

// By the definition of the format, in double.
double float16_value(uint16_t x) {
  const int exponent = (x >> 10) & 0x1f, mantissa = x & 0x3ff;
  const double magnitude =
      exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return (x & 0x8000) != 0 ? -magnitude : magnitude;
}

TEST(Float16, EveryValueWidensExactlyAndComesBack) {
  for (uint32_t i = 0; i <= 0xffff; ++i) {
    const auto half = static_cast<uint16_t>(i);
    const float wide = float16_to_float(half);
    if ((half & 0x7c00) == 0x7c00 && (half & 0x3ff) != 0) {
      EXPECT_TRUE(std::isnan(wide)) << half;
      EXPECT_TRUE(std::isnan(float16_to_float(float_to_float16(wide)))) << half;
      continue;
    }
    if ((half & 0x7fff) == 0x7c00) {
      EXPECT_TRUE(std::isinf(wide)) << half;
    } else {
      EXPECT_EQ(wide, float16_value(half)) << half;
    }
    EXPECT_EQ(std::signbit(wide), (half & 0x8000) != 0) << half;
    EXPECT_EQ(float_to_float16(wide), half);
  }
}

// Every boundary between two neighbours: below it, on it, above it.
TEST(Float16, EveryMidpointRoundsToEven) {
  for (uint16_t half = 0; half < 0x7bff; ++half) {
    const auto above = static_cast<uint16_t>(half + 1);
    const float middle = (float16_to_float(half) + float16_to_float(above)) / 2;
    ASSERT_EQ(float_to_float16(middle), (half & 1) == 0 ? half : above) << half;
    ASSERT_EQ(float_to_float16(std::nextafter(middle, 0.0f)), half) << half;
    ASSERT_EQ(float_to_float16(std::nextafter(middle, 1e9f)), above) << half;
    ASSERT_EQ(float_to_float16(-middle), 0x8000 | ((half & 1) == 0 ? half : above)) << half;
  }
}

TEST(Float16, OverflowsToInfinityAndUnderflowsToZero) {
  EXPECT_EQ(float_to_float16(std::nextafter(65520.0f, 0.0f)), 0x7bff);
  EXPECT_EQ(float_to_float16(65520.0f), 0x7c00);
  EXPECT_EQ(float_to_float16(std::numeric_limits<float>::max()), 0x7c00);
  EXPECT_EQ(float_to_float16(-std::numeric_limits<float>::infinity()), 0xfc00);
  EXPECT_EQ(float_to_float16(std::numeric_limits<float>::denorm_min()), 0);
  EXPECT_EQ(float_to_float16(-0.0f), 0x8000);
}

TEST(BFloat16, EveryValueComesBackAndMidpointsRoundToEven) {
  for (uint32_t i = 0; i <= 0xffff; ++i) {
    const auto x = static_cast<uint16_t>(i);
    const float wide = bfloat16_to_float(x);
    if (std::isnan(wide)) {
      EXPECT_TRUE(std::isnan(bfloat16_to_float(float_to_bfloat16(wide))));
      continue;
    }
    ASSERT_EQ(float_to_bfloat16(wide), x);
    if ((x & 0x7fff) >= 0x7f80) continue;
    const float middle = std::bit_cast<float>((i << 16) | 0x8000u);
    ASSERT_EQ(float_to_bfloat16(middle), (x & 1) == 0 ? x : x + 1);
  }
}

template <class T>
double loaded(DType dtype, T value) {
  std::array<std::byte, 3 * sizeof(T) + 1> buffer{};
  // Odd addresses are what a mapped file may give.
  std::memcpy(buffer.data() + 1 + 2 * sizeof(T), &value, sizeof(T));
  return load_element(buffer.data() + 1, dtype, 2);
}

TEST(LoadElement, WidensEveryType) {
  EXPECT_EQ(loaded<uint8_t>(DType::kBool, 7), 1);
  EXPECT_EQ(loaded<uint8_t>(DType::kBool, 0), 0);
  EXPECT_EQ(loaded<uint8_t>(DType::kUint8, 200), 200);
  EXPECT_EQ(loaded<int8_t>(DType::kInt8, -3), -3);
  EXPECT_EQ(loaded<uint16_t>(DType::kUint16, 60000), 60000);
  EXPECT_EQ(loaded<int16_t>(DType::kInt16, -300), -300);
  EXPECT_EQ(loaded<uint32_t>(DType::kUint32, 4'000'000'000u), 4e9);
  EXPECT_EQ(loaded<int32_t>(DType::kInt32, -70000), -70000);
  EXPECT_EQ(loaded<uint64_t>(DType::kUint64, uint64_t{1} << 63), 0x1p63);
  EXPECT_EQ(loaded<int64_t>(DType::kInt64, -5), -5);
  EXPECT_EQ(loaded<uint16_t>(DType::kFloat16, 0x3c01), 1 + 0x1p-10);
  EXPECT_EQ(loaded<uint16_t>(DType::kBFloat16, 0xc000), -2);
  EXPECT_EQ(loaded<float>(DType::kFloat32, 0.1f), static_cast<double>(0.1f));
  EXPECT_EQ(loaded<double>(DType::kFloat64, 0.1), 0.1);
}

TEST(LoadElement, KnowsBothEightBitFloats) {
  EXPECT_EQ(loaded<uint8_t>(DType::kFloat8E4M3, 0x7e), 448);
  EXPECT_EQ(loaded<uint8_t>(DType::kFloat8E4M3, 0x01), 0x1p-9);
  EXPECT_EQ(loaded<uint8_t>(DType::kFloat8E4M3, 0x08), 0x1p-6);
  EXPECT_EQ(loaded<uint8_t>(DType::kFloat8E4M3, 0xb8), -1);
  EXPECT_TRUE(std::isnan(loaded<uint8_t>(DType::kFloat8E4M3, 0x7f)));
  EXPECT_TRUE(std::isnan(loaded<uint8_t>(DType::kFloat8E4M3, 0xff)));
  EXPECT_EQ(loaded<uint8_t>(DType::kFloat8E5M2, 0x7b), 57344);
  EXPECT_EQ(loaded<uint8_t>(DType::kFloat8E5M2, 0x01), 0x1p-16);
  EXPECT_EQ(loaded<uint8_t>(DType::kFloat8E5M2, 0xbc), -1);
  EXPECT_TRUE(std::isinf(loaded<uint8_t>(DType::kFloat8E5M2, 0x7c)));
  EXPECT_TRUE(std::isnan(loaded<uint8_t>(DType::kFloat8E5M2, 0x7d)));
}

}  // namespace
}  // namespace lockstep
