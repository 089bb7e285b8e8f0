#include <gtest/gtest.h>

#include "ops/op_test_util.h"

namespace lockstep {
namespace {

TEST(RotaryEmbedding, AnglesAreFloat32ProductsAndCosinesCorrectlyRounded) {
  for (const bool half : {true, false}) {
    OpRun r("rotary_embedding", std::string("a int32[6]~ids:131072 .inv_freq=rope:10000:8 "
                                            ".attention_scaling=1.25 .layout=") +
                                    (half ? "half" : "interleaved"));
    r.run();
    for (int64_t t = 0; t < 6; ++t) {
      for (int64_t i = 0; i < 8; ++i) {
        const auto f = static_cast<size_t>(half ? i % 4 : i / 2);
        const float angle = static_cast<float>(r.in(0, t)) *
                            static_cast<float>(r.op_case.attrs.get_floats("inv_freq")[f]);
        EXPECT_EQ(r.out(t * 8 + i, 0), static_cast<float>(std::cos(double{angle})) * 1.25f);
        EXPECT_EQ(r.out(t * 8 + i, 1), static_cast<float>(std::sin(double{angle})) * 1.25f);
      }
    }
  }
}

TEST(RotaryEmbedding, BadLayoutIsRefused) {
  EXPECT_EQ(OpRun("rotary_embedding", "a int32[6]~ids:9 .inv_freq=[1.0] .layout=x").error(),
            "[rotary_embedding] layout: expected half or interleaved, found x");
}

}  // namespace
}  // namespace lockstep
