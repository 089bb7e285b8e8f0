#include <gtest/gtest.h>

#include "ops/op_test_util.h"

namespace lockstep {
namespace {

TEST(Elementwise, RoundsOnce) {
  for (const char* kernel : {"ref", "cpu.simd"}) {
    for (const char* fn : {"add", "sub", "mul"}) {
      OpRun r("elementwise", std::string("a float32[33]~normal float32[33]~normal .fn=") + fn,
              kernel);
      r.run();
      for (int64_t i = 0; i < 33; ++i) {
        const double a = r.in(0, i), b = r.in(1, i);
        const double exact = fn[0] == 'a' ? a + b : fn[0] == 's' ? a - b : a * b;
        EXPECT_EQ(r.out(i), static_cast<double>(static_cast<float>(exact)));
      }
    }
    OpRun scale("elementwise", "a float32[33]~normal .fn=scale .factor=1.1", kernel);
    scale.run();
    for (int64_t i = 0; i < 33; ++i) {
      EXPECT_EQ(scale.out(i), static_cast<float>(scale.in(0, i)) * 1.1f);
    }
  }
}

// torch rounds a one-element tensor to bfloat16, but takes a Python number as float32.
TEST(Elementwise, AFactorInTypeIsRoundedBeforeTheProduct) {
  for (const char* kernel : {"ref", "cpu.simd"}) {
    const auto run = [&](const char* line) {
      OpRun r("elementwise", line, kernel);
      r.run();
      std::vector<double> out;
      for (int64_t i = 0; i < 33; ++i) out.push_back(r.out(i));
      return out;
    };
    EXPECT_EQ(run("a bfloat16[33]~normal .fn=scale_in_type .factor=55.425626"),
              run("a bfloat16[33]~normal .fn=scale .factor=55.5"));
    EXPECT_NE(run("a bfloat16[33]~normal .fn=scale .factor=55.425626"),
              run("a bfloat16[33]~normal .fn=scale .factor=55.5"));
    EXPECT_EQ(run("a float32[33]~normal .fn=scale_in_type .factor=55.425626"),
              run("a float32[33]~normal .fn=scale .factor=55.425626"));
  }
}

TEST(Elementwise, BadInputsAreRefused) {
  EXPECT_EQ(OpRun("elementwise", "a float32[3]~normal float32[4]~normal .fn=add").error(),
            "[elementwise] b: expected [3], found float32[4]");
  EXPECT_EQ(OpRun("elementwise", "a float32[3]~normal bfloat16[3]~normal .fn=add").error(),
            "[elementwise] b: expected float32, found bfloat16[3]");
  EXPECT_EQ(OpRun("elementwise", "a float32[3]~normal float32[3]~normal .fn=scale").error(),
            "[elementwise] number of inputs: expected 1, found 2");
}

}  // namespace
}  // namespace lockstep
