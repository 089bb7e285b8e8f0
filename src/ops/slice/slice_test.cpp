#include <gtest/gtest.h>

#include "ops/op_test_util.h"

namespace lockstep {
namespace {

TEST(Slice, CopiesTheRangeOfEveryRow) {
  for (const char* kernel : {"ref", "cpu"}) {
    OpRun r("slice", "a bfloat16[5,2,9]~normal .bounds=[3,7]", kernel);
    r.run();
    ASSERT_EQ(r.outputs[0].view().elements(), 5 * 2 * 4);
    for (int64_t i = 0; i < 40; ++i) EXPECT_EQ(r.out(i), r.in(0, i / 4 * 9 + 3 + i % 4));
  }
}

TEST(Slice, RangesOutsideAreRefused) {
  const auto error = [](const char* range) {
    return OpRun("slice", std::string("a float32[5,8]~normal ") + range).error();
  };
  EXPECT_EQ(error(".bounds=[4,9]"), "[slice] bounds: expected ranges within [0, 8), found [4, 9)");
  EXPECT_EQ(error(".bounds=[-1,3]"),
            "[slice] bounds: expected ranges within [0, 8), found [-1, 3)");
  EXPECT_EQ(error(".bounds=[3,3]"), "[slice] bounds: expected ranges within [0, 8), found [3, 3)");
}

}  // namespace
}  // namespace lockstep
