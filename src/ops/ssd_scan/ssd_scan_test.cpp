#include <gtest/gtest.h>

#include <algorithm>

#include "ops/op_test_util.h"

namespace lockstep {
namespace {

std::string line(const std::string& type, const std::string& ragged, const std::string& more = "") {
  const auto of = [&](const char* shape) { return type + shape + "~normal "; };
  return "a ragged:" + ragged + " " + of("[T,4,3]") + of("[T,2,5]") + of("[T,2,5]") + type +
         "[T,4]~normal:0:9 float32[4]~normal float32[4]~normal float32[4]~normal "
         "int32[S]~row_offsets int32[N]~slots float32[L,4,3,5]~normal " +
         more + " dtype:" + type;
}

TEST(SsdScan, RefFollowsTheFormulaInFloat64) {
  OpRun r("ssd_scan", line("float32", "0+6,2+0,1+3", ".dt_min=0.01 .dt_max=4.0"));
  const std::vector<Tensor> before = make_inputs(r.op_case, 7);
  r.run();
  const int32_t* rows = r.inputs[7].data<int32_t>();
  for (int64_t s = 0; s < 3; ++s) {
    const auto slot = static_cast<int64_t>(r.in(8, s));
    for (int64_t h = 0; h < 4; ++h) {
      for (int64_t p = 0; p < 3; ++p) {
        const int64_t row = ((slot * 4 + h) * 3 + p) * 5;
        double state[5];
        for (int64_t n = 0; n < 5; ++n) {
          state[n] = load_element(before[9].view().data, DType::kFloat32, row + n);
        }
        for (int64_t t = rows[s]; t < rows[s + 1]; ++t) {
          const double delta = std::log1p(std::exp(r.in(3, t * 4 + h) + r.in(6, h)));
          EXPECT_NEAR(r.out(t * 4 + h, 1), delta, 1e-6 * delta);
          const double step = std::min(std::max(delta, 0.01), 4.0);
          const double decay = std::exp(-std::exp(r.in(4, h)) * step);
          const double x = r.in(0, (t * 4 + h) * 3 + p);
          double y = r.in(5, h) * x;
          for (int64_t n = 0; n < 5; ++n) {
            const int64_t bc = (t * 2 + h / 2) * 5 + n;
            state[n] = state[n] * decay + step * x * r.in(1, bc);
            y += state[n] * r.in(2, bc);
          }
          EXPECT_NEAR(r.out((t * 4 + h) * 3 + p), y, 1e-5);
        }
        for (int64_t n = 0; n < 5; ++n) EXPECT_NEAR(r.in(9, row + n), state[n], 1e-5);
      }
    }
  }
}

TEST(SsdScan, ManyTokensRunInChunksInBFloat16Alone) {
  for (const bool is_float32 : {true, false}) {
    OpRun r("ssd_scan", line(is_float32 ? "float32" : "bfloat16", "0+40"));
    ThreadPool pool(2);
    RunContext context(pool);
    std::vector<View> views;
    for (const Tensor& tensor : r.inputs) views.push_back(tensor.view());
    run_case(r.op_case, views, context);
    EXPECT_EQ(context.calls[is_float32 ? "ssd_scan/cpu.recurrent" : "ssd_scan/cpu.chunked"], 1);
  }
  EXPECT_EQ(OpRun("ssd_scan", line("float32", "0+40"), "cpu.chunked")
                .error()
                .rfind("[ssd_scan] forced kernel cpu.chunked refuses", 0),
            0u);
}

TEST(SsdScan, LargeStepsForgetEverythingAndStayFinite) {
  for (const char* kernel : {"ref", "cpu.recurrent", "cpu.chunked"}) {
    OpRun r("ssd_scan", line("bfloat16", "0+40", ".dt_min=200.0"), kernel);
    r.run();
    for (int64_t i = 0; i < 40 * 12; ++i) EXPECT_TRUE(std::isfinite(r.out(i))) << kernel;
  }
}

TEST(SsdScan, BadShapesTypesAndLimitsAreRefused) {
  const auto error = [](std::string text, const std::string& from, const std::string& to) {
    return OpRun("ssd_scan", text.replace(text.find(from), from.size(), to)).error();
  };
  const std::string good = line("float32", "0+3,0+1");
  EXPECT_EQ(error(good, "[T,2,5]", "[T,3,5]"),
            "[ssd_scan] C: expected [4, 3, 5], found float32[4, 2, 5]");
  EXPECT_EQ(error(good, "[L,4,3,5]", "[L,4,5,3]"),
            "[ssd_scan] state: expected [4, 4, 3, 5], found float32[4, 4, 5, 3]");
  EXPECT_EQ(error(good, "float32[L", "bfloat16[L"),
            "[ssd_scan] state: expected float32, found bfloat16[4, 4, 3, 5]");
  EXPECT_EQ(OpRun("ssd_scan", good + " .dt_min=2.0 .dt_max=1.0").error(),
            "[ssd_scan] dt_max: expected at least dt_min 2, found 1");
  OpRun slot("ssd_scan", good);
  slot.inputs[8].data<int32_t>()[0] = -1;
  EXPECT_EQ(slot.error(), "[ssd_scan] state_slots[0]: expected a slot in [0, 4), found -1");
}

}  // namespace
}  // namespace lockstep
