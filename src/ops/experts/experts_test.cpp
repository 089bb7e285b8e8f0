#include <gtest/gtest.h>

#include <algorithm>

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

TEST(Experts, ClampedAndBiasedWithGateAndUpInTurn) {
  for (const char* kernel : {"ref", "cpu.grouped"}) {
    OpRun r("experts",
            "a float32[3,6]~normal int32[3,1]~ids:4 float32[3,1]~uniform:0.5:1 "
            "float32[4,10,6]~normal float32[4,6,5]~normal float32[4,10]~normal float32[4,6]~normal "
            ".fn=quick_gelu .order=interleaved .limit=1.25 .up_offset=1.0",
            kernel);
    r.run();
    int n_bounded = 0;
    for (int64_t t = 0; t < 3; ++t) {
      const auto e = static_cast<int64_t>(r.in(1, t));
      std::vector<double> rows(10), hidden(5);
      for (int64_t i = 0; i < 10; ++i) {
        rows[i] = r.in(5, e * 10 + i);
        for (int64_t h = 0; h < 6; ++h)
          rows[i] += r.in(0, t * 6 + h) * r.in(3, (e * 10 + i) * 6 + h);
        n_bounded += std::abs(rows[i]) > 1.25;
      }
      for (int64_t i = 0; i < 5; ++i) {
        const double gate = std::min(rows[2 * i], 1.25);
        const double up = std::clamp(rows[2 * i + 1], -1.25, 1.25);
        hidden[i] = gate / (1 + std::exp(-1.702 * gate)) * (up + 1);
      }
      for (int64_t n = 0; n < 6; ++n) {
        double expected = r.in(6, e * 6 + n);
        for (int64_t i = 0; i < 5; ++i) expected += hidden[i] * r.in(4, (e * 6 + n) * 5 + i);
        EXPECT_NEAR(r.out(t * 6 + n), r.in(2, t) * expected, 1e-5) << kernel;
      }
    }
    EXPECT_GT(n_bounded, 5);
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
  const auto error = [](const std::string& more) {
    return OpRun("experts",
                 "a float32[3,6]~normal int32[3,2]~ids:4 float32[3,2]~normal "
                 "float32[4,10,6]~normal float32[4,6,5]~normal .fn=silu " +
                     more)
        .error();
  };
  EXPECT_EQ(error(".limit=0.0"), "[experts] limit: expected a number above 0, found 0");
  EXPECT_EQ(error(".order=pairs"), "[experts] order: expected halves or interleaved, found pairs");
  EXPECT_EQ(error("float32[4,10]~normal float32[4,5]~normal"),
            "[experts] down_bias: expected [4, 6], found float32[4, 5]");
}

}  // namespace
}  // namespace lockstep
