#include <gtest/gtest.h>

#include "ops/op_test_util.h"

namespace lockstep {
namespace {

TEST(Cast, WidensToTheSameNumbers) {
  for (const char* kernel : {"ref", "cpu.simd"}) {
    OpRun r("cast", "a bfloat16[3,7]~normal .dtype=float32", kernel);
    r.run();
    EXPECT_EQ(r.outputs[0].view().dtype, DType::kFloat32);
    for (int64_t i = 0; i < 21; ++i) EXPECT_EQ(r.out(i), r.in(0, i));
  }
}

TEST(Cast, OtherTypesAreRefused) {
  EXPECT_EQ(OpRun("cast", "a float32[3]~normal .dtype=float16").error(),
            "[cast] dtype: expected float32, found float16");
}

}  // namespace
}  // namespace lockstep
