#include <gtest/gtest.h>

#include "kernels/element.h"
#include "ops/op_test_util.h"

namespace lockstep {
namespace {

TEST(Experts, RefFollowsTheFormula) {
  OpRun r("experts",
          "a float32[3,6]~normal int32[3,2]~ids:4 float32[3,2]~uniform:0:1 "
          "float32[4,10,6]~normal float32[4,6,5]~normal .fn=silu");
  r.run();
  for (int64_t t = 0; t < 3; ++t) {
    std::vector<double> expected(6), scale(6);
    for (int64_t s = 0; s < 2; ++s) {
      const auto e = static_cast<int64_t>(r.in(1, t * 2 + s));
      std::vector<double> halves(10);
      for (int64_t i = 0; i < 10; ++i) {
        for (int64_t h = 0; h < 6; ++h)
          halves[i] += r.in(0, t * 6 + h) * r.in(3, (e * 10 + i) * 6 + h);
      }
      for (int64_t n = 0; n < 6; ++n) {
        for (int64_t i = 0; i < 5; ++i) {
          const double hidden = halves[i] / (1 + std::exp(-halves[i])) * halves[5 + i];
          const double term = r.in(2, t * 2 + s) * hidden * r.in(4, (e * 6 + n) * 5 + i);
          expected[n] += term;
          scale[n] += std::abs(term);
        }
      }
    }
    for (int64_t n = 0; n < 6; ++n) {
      EXPECT_NEAR(r.out(t * 6 + n), expected[n], 1e-6 * (scale[n] + 1));
    }
  }
}

TEST(Experts, RoundsEveryProductToTheActivationType) {
  const auto round = [](float x) { return round_to(DType::kBFloat16, x); };
  for (const char* kernel : {"ref", "cpu.grouped"}) {
    OpRun run("experts",
              "a bfloat16[1,1]~uniform:0.9:0.9 int32[1,1]~ids:1 float32[1,1]~uniform:0.3:0.3 "
              "float32[1,2,1]~uniform:1.37:1.37 float32[1,1,1]~uniform:0.77:0.77 .fn=relu "
              "dtype:bfloat16",
              kernel);
    run.run();
    const float half = round(round(0.9f) * 1.37f);
    const float y = round(round(half * half) * 0.77f);
    EXPECT_EQ(run.out(0), static_cast<double>(round(0.3f * y))) << kernel;
  }
}

TEST(Experts, BadInputsAreRefused) {
  OpRun ids("experts",
            "a float32[3,6]~normal int32[3,2]~ids:4 float32[3,2]~normal float32[4,10,6]~normal "
            "float32[4,6,5]~normal .fn=silu");
  ids.inputs[1].data<int32_t>()[3] = 4;
  EXPECT_EQ(ids.error(), "[experts] ids[1, 1]: expected an expert in [0, 4), found 4");
  EXPECT_EQ(OpRun("experts",
                  "a float32[3,6]~normal int32[3,2]~ids:4 float32[3,2]~normal "
                  "float32[4,9,6]~normal float32[4,6,5]~normal .fn=silu")
                .error(),
            "[experts] gate_up: expected [4, 10, 6], found float32[4, 9, 6]");
}

}  // namespace
}  // namespace lockstep
