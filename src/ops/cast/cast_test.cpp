#include <gtest/gtest.h>

#include "kernels/element.h"
#include "ops/op_test_util.h"

namespace lockstep {
namespace {

TEST(Cast, RoundsOnceOrNotAtAll) {
  for (const char* kernel : {"ref", "cpu.simd"}) {
    OpRun round("cast", "a float32[4,9]~normal .to=activation dtype:bfloat16", kernel);
    round.run();
    OpRun widen("cast", "a bfloat16[4,9]~normal .to=float32 dtype:bfloat16", kernel);
    widen.run();
    EXPECT_EQ(round.outputs[0].view().dtype, DType::kBFloat16);
    EXPECT_EQ(widen.outputs[0].view().dtype, DType::kFloat32);
    for (int64_t i = 0; i < 36; ++i) {
      EXPECT_EQ(round.out(i), round_to(DType::kBFloat16, static_cast<float>(round.in(0, i))));
      EXPECT_EQ(widen.out(i), widen.in(0, i));
    }
  }
}

TEST(Cast, OtherTypesAreRefused) {
  EXPECT_EQ(OpRun("cast", "a float32[4,9]~normal .to=float64").error(),
            "[cast] to: expected float32 or activation, found float64");
  EXPECT_EQ(OpRun("cast", "a float16[4,9]~normal .to=float32").error(),
            "[cast] x: expected float32 or bfloat16, found float16[4, 9]");
}

}  // namespace
}  // namespace lockstep
