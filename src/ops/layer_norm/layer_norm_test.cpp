#include <gtest/gtest.h>

#include "ops/op_test_util.h"

namespace lockstep {
namespace {

/// The formula in float64, for element i of row t; input 2 is the bias where there is one.
double expected_value(const OpRun& r, int64_t width, int64_t t, int64_t i, double eps) {
  double mean = 0, variance = 0;
  for (int64_t j = 0; j < width; ++j) mean += r.in(0, t * width + j);
  mean /= static_cast<double>(width);
  for (int64_t j = 0; j < width; ++j) {
    const double centred = r.in(0, t * width + j) - mean;
    variance += centred * centred;
  }
  variance /= static_cast<double>(width);
  const double y = (r.in(0, t * width + i) - mean) / std::sqrt(variance + eps) * r.in(1, i);
  return r.inputs.size() > 2 ? y + r.in(2, i) : y;
}

TEST(LayerNorm, FollowsTheFormula) {
  for (const char* kernel : {"ref", "cpu.simd"}) {
    for (const char* bias : {"", "float32[21]~normal "}) {
      OpRun r("layer_norm",
              std::string("a float32[3,21]~normal:2:1 float32[21]~normal ") + bias + ".eps=0.01",
              kernel);
      r.run();
      for (int64_t i = 0; i < 3 * 21; ++i) {
        EXPECT_NEAR(r.out(i), expected_value(r, 21, i / 21, i % 21, 0.01), 2e-6);
      }
    }
  }
}

TEST(LayerNorm, EveryHeadMayHaveItsOwnWeights) {
  for (const char* kernel : {"ref", "cpu.simd"}) {
    OpRun r("layer_norm", "a float32[2,3,21]~normal:2:1 float32[3,21]~normal .eps=0.01", kernel);
    OpRun plain("layer_norm", "a float32[6,21]~normal:2:1 float32[21]~uniform:1:1 .eps=0.01",
                kernel);
    r.run();
    plain.run();
    for (int64_t i = 0; i < 6 * 21; ++i) {
      EXPECT_EQ(r.out(i), static_cast<double>(static_cast<float>(plain.out(i) * r.in(1, i % 63))));
    }
  }
  EXPECT_NE(OpRun("layer_norm", "a float32[2,3,21]~normal float32[2,21]~normal .eps=0.01")
                .error()
                .find("weight: expected [3, 21]"),
            std::string::npos);
}

TEST(LayerNorm, RoundsOnceAfterTheBias) {
  for (const char* kernel : {"ref", "cpu.simd"}) {
    OpRun r("layer_norm",
            "a bfloat16[2,64]~normal bfloat16[64]~normal:1:0.3 bfloat16[64]~normal .eps=1e-5",
            kernel);
    r.run();
    for (int64_t i = 0; i < 2 * 64; ++i) {
      const double expected = expected_value(r, 64, i / 64, i % 64, 1e-5);
      EXPECT_NEAR(r.out(i), expected, 1.01 * kBf16Half * std::abs(expected) + 1e-6);
    }
  }
}

// A variance taken as mean(x^2) - mean^2 would be lost here.
TEST(LayerNorm, AMeanFarFromZeroCostsNoMoreThanItsOwnRounding) {
  for (const char* kernel : {"ref", "cpu.simd"}) {
    OpRun r("layer_norm", "a float32[2,256]~normal:1000:1 float32[256]~normal .eps=1e-5", kernel);
    r.run();
    for (int64_t i = 0; i < 2 * 256; ++i) {
      EXPECT_NEAR(r.out(i), expected_value(r, 256, i / 256, i % 256, 1e-5), 1e-3);
    }
  }
}

TEST(LayerNorm, BadAttributesAndShapesAreRefused) {
  EXPECT_EQ(OpRun("layer_norm", "a float32[3,20]~normal float32[19]~normal .eps=1e-5").error(),
            "[layer_norm] weight: expected [20], found float32[19]");
  EXPECT_EQ(
      OpRun("layer_norm", "a float32[3,20]~normal float32[20]~normal float32[2]~normal .eps=1e-5")
          .error(),
      "[layer_norm] bias: expected [20], found float32[2]");
  EXPECT_NE(OpRun("layer_norm", "a float32[3,20]~normal float32[20]~normal").error().find("eps"),
            std::string::npos);
}

}  // namespace
}  // namespace lockstep
