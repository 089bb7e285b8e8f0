#include <gtest/gtest.h>

#include "ops/op_test_util.h"

namespace lockstep {
namespace {

TEST(Slice, TakesARangeOfTheLastDimension) {
  for (const char* kernel : {"ref", "cpu"}) {
    OpRun r("slice", "a bfloat16[3,2,7]~normal .begin=2 .end=6", kernel);
    r.run();
    for (int64_t i = 0; i < 24; ++i) EXPECT_EQ(r.out(i), r.in(0, i / 4 * 7 + 2 + i % 4));
  }
}

TEST(Slice, ARangeOutsideIsRefused) {
  EXPECT_EQ(OpRun("slice", "a float32[3,7]~normal .begin=2 .end=8").error(),
            "[slice] begin, end: expected a range of [0, 7), found [2, 8)");
  EXPECT_EQ(OpRun("slice", "a float32[3,7]~normal .begin=2 .end=2").error(),
            "[slice] begin, end: expected a range of [0, 7), found [2, 2)");
}

}  // namespace
}  // namespace lockstep
