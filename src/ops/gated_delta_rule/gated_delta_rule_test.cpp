#include <gtest/gtest.h>

#include "ops/op_test_util.h"

namespace lockstep {
namespace {

// Two key heads of width 5, four value heads of width 3.
std::string line(const std::string& type, const std::string& ragged) {
  const auto of = [&](const char* shape) { return type + shape + "~normal "; };
  return "a ragged:" + ragged + " " + of("[T,2,5]") + of("[T,2,5]") + of("[T,4,3]") + of("[T,4]") +
         type + "[T,4]~uniform:0:1 float32[4]~normal float32[4]~normal int32[S]~row_offsets " +
         "int32[N]~slots float32[L,4,5,3]~normal dtype:" + type;
}

TEST(GatedDeltaRule, RefFollowsTheFormulaInFloat64) {
  OpRun r("gated_delta_rule", line("float32", "0+6,2+0,1+3"));
  const std::vector<Tensor> before = make_inputs(r.op_case, 7);
  r.run();
  const int32_t* rows = r.inputs[7].data<int32_t>();
  for (int64_t s = 0; s < 3; ++s) {
    const auto slot = static_cast<int64_t>(r.in(8, s));
    for (int64_t h = 0; h < 4; ++h) {
      double state[5][3];
      const int64_t at = (slot * 4 + h) * 15;
      for (int64_t i = 0; i < 15; ++i) {
        state[i / 3][i % 3] = load_element(before[9].view().data, DType::kFloat32, at + i);
      }
      for (int64_t t = rows[s]; t < rows[s + 1]; ++t) {
        double q[5], k[5], q_squares = 1e-6, k_squares = 1e-6;
        for (int64_t i = 0; i < 5; ++i) {
          q[i] = r.in(0, (t * 2 + h / 2) * 5 + i);
          k[i] = r.in(1, (t * 2 + h / 2) * 5 + i);
          q_squares += q[i] * q[i];
          k_squares += k[i] * k[i];
        }
        const double g =
            -std::exp(r.in(5, h)) * std::log1p(std::exp(r.in(3, t * 4 + h) + r.in(6, h)));
        EXPECT_NEAR(r.out(t * 4 + h, 1), g, -1e-6 * g);
        for (int64_t j = 0; j < 3; ++j) {
          double memory = 0, y = 0;
          for (int64_t i = 0; i < 5; ++i) {
            state[i][j] *= std::exp(g);
            memory += state[i][j] * k[i] / std::sqrt(k_squares);
          }
          const double error = r.in(4, t * 4 + h) * (r.in(2, (t * 4 + h) * 3 + j) - memory);
          for (int64_t i = 0; i < 5; ++i) {
            state[i][j] += k[i] / std::sqrt(k_squares) * error;
            y += state[i][j] * q[i] / std::sqrt(q_squares) / std::sqrt(5.0);
          }
          EXPECT_NEAR(r.out((t * 4 + h) * 3 + j), y, 1e-5);
        }
      }
      for (int64_t i = 0; i < 15; ++i) EXPECT_NEAR(r.in(9, at + i), state[i / 3][i % 3], 1e-5);
    }
  }
}

TEST(GatedDeltaRule, WhatIsWrittenWithFullStrengthIsRead) {
  for (const char* kernel : {"ref", "cpu.simd"}) {
    OpRun r("gated_delta_rule", line("float32", "0+1"), kernel);
    for (int64_t i = 0; i < 10; ++i) r.inputs[0].data<float>()[i] = r.inputs[1].data<float>()[i];
    for (int64_t h = 0; h < 4; ++h) r.inputs[4].data<float>()[h] = 1;
    r.run();
    for (int64_t i = 0; i < 12; ++i) {
      EXPECT_NEAR(r.out(i), r.in(2, i) / std::sqrt(5.0), 1e-5) << kernel;
    }
  }
}

TEST(GatedDeltaRule, StrongDecaysForgetEverythingAndStayFinite) {
  for (const char* kernel : {"ref", "cpu.simd"}) {
    OpRun r("gated_delta_rule", line("float32", "0+2"), kernel);
    for (int64_t i = 0; i < 8; ++i) r.inputs[3].data<float>()[i] = 1e30f;
    r.run();
    for (int64_t i = 0; i < 24; ++i) EXPECT_TRUE(std::isfinite(r.out(i))) << kernel;
  }
}

TEST(GatedDeltaRule, BadShapesAndTypesAreRefused) {
  const auto error = [](std::string text, const std::string& from, const std::string& to) {
    return OpRun("gated_delta_rule", text.replace(text.find(from), from.size(), to)).error();
  };
  const std::string good = line("float32", "0+3,0+1");
  EXPECT_EQ(error(good, "[T,2,5]", "[T,3,5]"),
            "[gated_delta_rule] k: expected [4, 3, 5], found float32[4, 2, 5]");
  EXPECT_EQ(error(good, "[T,4,3]", "[T,5,3]"),
            "[gated_delta_rule] q: expected a number of heads that divides 5, found "
            "float32[4, 2, 5]");
  EXPECT_EQ(error(good, "[L,4,5,3]", "[L,4,3,5]"),
            "[gated_delta_rule] state: expected [4, 4, 5, 3], found float32[4, 4, 3, 5]");
  EXPECT_EQ(error(good, "float32[L", "bfloat16[L"),
            "[gated_delta_rule] state: expected float32, found bfloat16[4, 4, 5, 3]");
  OpRun slot("gated_delta_rule", good);
  slot.inputs[8].data<int32_t>()[0] = 9;
  EXPECT_EQ(slot.error(), "[gated_delta_rule] state_slots[0]: expected a slot in [0, 4), found 9");
}

}  // namespace
}  // namespace lockstep
