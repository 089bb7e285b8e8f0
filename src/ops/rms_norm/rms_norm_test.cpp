#include <gtest/gtest.h>

#include "kernels/element.h"
#include "ops/op_test_util.h"

namespace lockstep {
namespace {

TEST(RmsNorm, RefFollowsTheFormula) {
  OpRun r("rms_norm",
          "a float32[3,20]~normal float32[20]~normal .eps=0.01 .rounding=after_weight "
          ".weight_offset=1.0");
  r.run();
  for (int64_t t = 0; t < 3; ++t) {
    double mean = 0;
    for (int64_t i = 0; i < 20; ++i) mean += r.in(0, t * 20 + i) * r.in(0, t * 20 + i) / 20;
    for (int64_t i = 0; i < 20; ++i) {
      const double expected = r.in(0, t * 20 + i) / std::sqrt(mean + 0.01) * (1 + r.in(1, i));
      EXPECT_NEAR(r.out(t * 20 + i), expected, 5e-7 * std::abs(expected) + 1e-12);
    }
  }
}

TEST(RmsNorm, RoundsBeforeOrAfterTheWeight) {
  const std::string line = "a bfloat16[2,64]~normal bfloat16[64]~normal:1:0.3 .eps=1e-5 .rounding=";
  OpRun before("rms_norm", line + "before_weight"), after("rms_norm", line + "after_weight");
  before.run();
  after.run();
  int n_different = 0;
  for (int64_t t = 0; t < 2; ++t) {
    double mean = 0;
    for (int64_t i = 0; i < 64; ++i) mean += before.in(0, t * 64 + i) * before.in(0, t * 64 + i);
    const double scale = 1 / std::sqrt(mean / 64 + 1e-5);
    for (int64_t i = 0; i < 64; ++i) {
      const double y = before.in(0, t * 64 + i) * scale, w = before.in(1, i);
      const double y_rounded = round_to(DType::kBFloat16, static_cast<float>(y));
      EXPECT_NEAR(before.out(t * 64 + i), y_rounded * w,
                  1.01 * kBf16Half * std::abs(y_rounded * w));
      EXPECT_NEAR(after.out(t * 64 + i), y * w, 1.01 * kBf16Half * std::abs(y * w));
      n_different += before.out(t * 64 + i) != after.out(t * 64 + i);
    }
  }
  EXPECT_GT(n_different, 0);
}

TEST(RmsNorm, BadAttributesAndShapesAreRefused) {
  EXPECT_EQ(OpRun("rms_norm",
                  "a float32[3,20]~normal float32[19]~normal .eps=1e-5 "
                  ".rounding=after_weight")
                .error(),
            "[rms_norm] weight: expected [20], found float32[19]");
  EXPECT_EQ(OpRun("rms_norm",
                  "a float32[3,20]~normal float32[20]~normal .eps=1e-5 "
                  ".rounding=never")
                .error(),
            "[rms_norm] rounding: expected before_weight or after_weight, found never");
  EXPECT_NE(OpRun("rms_norm", "a float32[3,20]~normal float32[20]~normal .rounding=after_weight")
                .error()
                .find("eps"),
            std::string::npos);
}

}  // namespace
}  // namespace lockstep
