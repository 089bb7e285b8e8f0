#include <gtest/gtest.h>

#include "ops/op_test_util.h"

namespace lockstep {
namespace {

TEST(Slice, CopiesTheRangeOfEveryRow) {
  for (const char* kernel : {"ref", "cpu"}) {
    OpRun r("slice", "a bfloat16[4,2,9]~normal .begin=2 .end=7", kernel);
    r.run();
    for (int64_t i = 0; i < 40; ++i) EXPECT_EQ(r.out(i), r.in(0, i / 5 * 9 + 2 + i % 5));
  }
}

TEST(Slice, BadRangesAreRefused) {
  EXPECT_EQ(OpRun("slice", "a float32[4,9]~normal .begin=2 .end=10").error(),
            "[slice] begin, end: expected 0 <= begin < end <= 9, found 2, 10");
  EXPECT_EQ(OpRun("slice", "a float32[4,9]~normal .begin=3 .end=3").error(),
            "[slice] begin, end: expected 0 <= begin < end <= 9, found 3, 3");
}

}  // namespace
}  // namespace lockstep
