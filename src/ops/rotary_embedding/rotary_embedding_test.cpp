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

TEST(RotaryEmbedding, FromTheSwitchOnOtherFrequencies) {
  OpRun r("rotary_embedding",
          "a int32[3]~ids:2 .inv_freq=[0.5,0.25] .long_inv_freq=[0.125,0.0625] .switch_length=5 "
          ".layout=half");
  for (int64_t t = 0; t < 3; ++t) r.inputs[0].data<int32_t>()[t] = static_cast<int32_t>(4 + t);
  r.run();
  EXPECT_EQ(r.out(0), static_cast<float>(std::cos(4 * 0.5)));
  EXPECT_EQ(r.out(4), static_cast<float>(std::cos(5 * 0.125)));
  EXPECT_EQ(r.out(9), static_cast<float>(std::cos(6 * 0.0625)));
}

TEST(RotaryEmbedding, AGrowingBaseFollowsEachPosition) {
  OpRun r("rotary_embedding",
          "a int32[3]~ids:2 .inv_freq=[1.0,0.1,0.01,0.001] .dynamic_theta=10000.0 "
          ".dynamic_factor=2.0 .switch_length=8 .layout=half");
  for (int64_t t = 0; t < 3; ++t) r.inputs[0].data<int32_t>()[t] = static_cast<int32_t>(7 + 4 * t);
  r.run();
  EXPECT_EQ(r.out(1), static_cast<float>(std::cos(double{7 * 0.1f})));
  for (int64_t t = 1; t < 3; ++t) {
    const double position = static_cast<double>(7 + 4 * t);
    const double base = 1e4 * std::pow(2 * (position + 1) / 8 - 1, 8.0 / 6);
    for (int64_t i = 0; i < 4; ++i) {
      const double angle = position * std::pow(base, -static_cast<double>(i) / 4);
      EXPECT_NEAR(r.out(t * 8 + i), std::cos(angle), 1e-5) << t << " " << i;
    }
  }
}

TEST(RotaryEmbedding, BadSwitchesAreRefused) {
  const auto error = [](const std::string& attributes) {
    return OpRun("rotary_embedding",
                 "a int32[6]~ids:9 .inv_freq=[1.0,0.5] .layout=half " + attributes)
        .error();
  };
  EXPECT_EQ(error(".switch_length=-1"),
            "[rotary_embedding] switch_length: expected 0 or more, found -1");
  EXPECT_EQ(error(".switch_length=4 .long_inv_freq=[1.0]"),
            "[rotary_embedding] long_inv_freq: expected 2 of them, found 1");
  EXPECT_EQ(error(".switch_length=4 .dynamic_theta=0.0 .dynamic_factor=2.0"),
            "[rotary_embedding] dynamic_theta: expected a number above 0, found 0");
}

TEST(RotaryEmbedding, BadLayoutIsRefused) {
  EXPECT_EQ(OpRun("rotary_embedding", "a int32[6]~ids:9 .inv_freq=[1.0] .layout=x").error(),
            "[rotary_embedding] layout: expected half or interleaved, found x");
}

}  // namespace
}  // namespace lockstep
