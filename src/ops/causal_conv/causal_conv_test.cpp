#include <gtest/gtest.h>

#include "ops/op_test_util.h"

namespace lockstep {
namespace {

TEST(CausalConv, RefFollowsTheFormulaAndKeepsTheNewestInputs) {
  OpRun r("causal_conv",
          "a ragged:0+2,0+6 float32[T,5]~normal float32[5,1,4]~normal int32[S]~row_offsets "
          "int32[N]~slots float32[L,5,4]~normal float32[5]~normal .fn=silu");
  const std::vector<Tensor> before = make_inputs(r.op_case, 7);
  const View& state = before[4].view();
  r.run();
  for (int64_t s = 0; s < 2; ++s) {
    const auto begin = static_cast<int64_t>(r.in(2, s));
    const auto n = static_cast<int64_t>(r.in(2, s + 1)) - begin;
    const auto slot = static_cast<int64_t>(r.in(3, s));
    for (int64_t c = 0; c < 5; ++c) {
      const int64_t row = (slot * 5 + c) * 4;
      const auto input = [&](int64_t t) {
        return t >= 0 ? r.in(0, (begin + t) * 5 + c)
                      : load_element(state.data, state.dtype, row + 4 + t);
      };
      for (int64_t t = 0; t < n; ++t) {
        double u = r.in(5, c);
        for (int64_t k = 0; k < 4; ++k) u += r.in(1, c * 4 + k) * input(t - 3 + k);
        EXPECT_NEAR(r.out((begin + t) * 5 + c), u / (1 + std::exp(-u)), 1e-6);
      }
      for (int64_t i = 0; i < 4; ++i) EXPECT_EQ(r.in(4, row + i), input(n - 4 + i));
    }
  }
}

TEST(CausalConv, OtherSlotsAreLeftAlone) {
  for (const char* kernel : {"ref", "cpu.simd"}) {
    OpRun r("causal_conv",
            "a ragged:0+3 bfloat16[T,5]~normal float32[5,4]~normal int32[S]~row_offsets "
            "int32[N]~slots bfloat16[L,5,3]~normal dtype:bfloat16",
            kernel);
    const std::vector<Tensor> before = make_inputs(r.op_case, 7);
    r.run();
    const auto used = static_cast<int64_t>(r.in(3, 0));
    const View& state = before[4].view();
    for (int64_t i = 0; i < 45; ++i) {
      const bool is_kept = r.in(4, i) == load_element(state.data, state.dtype, i);
      EXPECT_TRUE(is_kept || i / 15 == used) << kernel << " " << i;
    }
  }
}

TEST(CausalConv, BadShapesSlotsAndAttributesAreRefused) {
  const std::string head = "a ragged:0+3,0+1 float32[T,5]~normal ";
  const std::string tail = "int32[S]~row_offsets int32[N]~slots float32[L,5,4]~normal";
  EXPECT_EQ(OpRun("causal_conv", head + "float32[5,2,4]~normal " + tail).error(),
            "[causal_conv] weight: expected [5, 1, 4], found float32[5, 2, 4]");
  EXPECT_EQ(OpRun("causal_conv", head + "float32[5,6]~normal " + tail).error(),
            "[causal_conv] state: expected [4, 5, 5], found float32[4, 5, 4]");
  EXPECT_EQ(OpRun("causal_conv", head + "float32[5,4]~normal " + tail + " .fn=relu").error(),
            "[causal_conv] fn: expected none or silu, found relu");
  OpRun slot("causal_conv", head + "float32[5,4]~normal " + tail);
  slot.inputs[3].data<int32_t>()[1] = 4;
  EXPECT_EQ(slot.error(), "[causal_conv] state_slots[1]: expected a slot in [0, 4), found 4");
  OpRun twice("causal_conv", head + "float32[5,4]~normal " + tail);
  twice.inputs[3].data<int32_t>()[0] = twice.inputs[3].data<int32_t>()[1] = 2;
  EXPECT_EQ(twice.error(), "[causal_conv] state_slots[1]: expected a slot of its own, found 2");
  OpRun rows("causal_conv", head + "float32[5,4]~normal " + tail);
  rows.inputs[2].data<int32_t>()[2] = 5;
  EXPECT_EQ(rows.error(), "[causal_conv] row_offsets[2]: expected the number of tokens, found 5");
}

}  // namespace
}  // namespace lockstep
