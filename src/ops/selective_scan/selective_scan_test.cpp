#include <gtest/gtest.h>

#include "ops/op_test_util.h"

namespace lockstep {
namespace {

std::string line(const std::string& type, const std::string& ragged) {
  const auto of = [&](const char* shape) { return type + shape + "~normal "; };
  return "a ragged:" + ragged + " " + of("[T,3]") + of("[T,5]") + of("[T,5]") + type +
         "[T,3]~normal:0:9 float32[3,5]~normal float32[3]~normal int32[S]~row_offsets "
         "int32[N]~slots float32[L,3,5]~normal dtype:" +
         type;
}

TEST(SelectiveScan, RefFollowsTheFormulaInFloat64) {
  OpRun r("selective_scan", line("float32", "0+6,2+0,1+3"));
  const std::vector<Tensor> before = make_inputs(r.op_case, 7);
  r.run();
  const int32_t* rows = r.inputs[6].data<int32_t>();
  for (int64_t s = 0; s < 3; ++s) {
    const auto slot = static_cast<int64_t>(r.in(7, s));
    for (int64_t c = 0; c < 3; ++c) {
      double state[5];
      for (int64_t n = 0; n < 5; ++n) {
        state[n] = load_element(before[8].view().data, DType::kFloat32, (slot * 3 + c) * 5 + n);
      }
      for (int64_t t = rows[s]; t < rows[s + 1]; ++t) {
        const double delta = std::log1p(std::exp(r.in(3, t * 3 + c)));
        EXPECT_NEAR(r.out(t * 3 + c, 1), delta, 1e-6 * delta);
        const double x = r.in(0, t * 3 + c);
        double y = r.in(5, c) * x;
        for (int64_t n = 0; n < 5; ++n) {
          const double decay = std::exp(-std::exp(r.in(4, c * 5 + n)) * delta);
          state[n] = state[n] * decay + delta * x * r.in(1, t * 5 + n);
          y += state[n] * r.in(2, t * 5 + n);
        }
        EXPECT_NEAR(r.out(t * 3 + c), y, 2e-5);
      }
      for (int64_t n = 0; n < 5; ++n) {
        EXPECT_NEAR(r.in(8, (slot * 3 + c) * 5 + n), state[n], 2e-5);
      }
    }
  }
}

TEST(SelectiveScan, LargeStepsForgetEverythingAndStayFinite) {
  for (const char* kernel : {"ref", "cpu.simd"}) {
    OpRun r("selective_scan", line("float32", "0+4"), kernel);
    for (int64_t i = 0; i < 12; ++i) r.inputs[3].data<float>()[i] = 1000.0f;
    r.run();
    for (int64_t i = 0; i < 12; ++i) {
      EXPECT_EQ(r.out(i, 1), 1000) << kernel;
      EXPECT_TRUE(std::isfinite(r.out(i))) << kernel;
    }
  }
}

TEST(SelectiveScan, BadShapesAndTypesAreRefused) {
  const auto error = [](std::string text, const std::string& from, const std::string& to) {
    return OpRun("selective_scan", text.replace(text.find(from), from.size(), to)).error();
  };
  const std::string good = line("float32", "0+3,0+1");
  EXPECT_EQ(error(good, "[T,5]", "[T,6]"),
            "[selective_scan] C: expected [4, 6], found float32[4, 5]");
  EXPECT_EQ(error(good, "float32[3,5]", "float32[5,3]"),
            "[selective_scan] A_log: expected [3, 5], found float32[5, 3]");
  EXPECT_EQ(error(good, "[L,3,5]", "[L,5,3]"),
            "[selective_scan] state: expected [4, 3, 5], found float32[4, 5, 3]");
  EXPECT_EQ(error(good, "float32[L", "bfloat16[L"),
            "[selective_scan] state: expected float32, found bfloat16[4, 3, 5]");
  OpRun slot("selective_scan", good);
  slot.inputs[7].data<int32_t>()[0] = -1;
  EXPECT_EQ(slot.error(), "[selective_scan] state_slots[0]: expected a slot in [0, 4), found -1");
}

}  // namespace
}  // namespace lockstep
