#include <gtest/gtest.h>

#include "ops/op_test_util.h"

namespace lockstep {
namespace {

TEST(Concat, OneHeadServesAll) {
  for (const char* kernel : {"ref", "cpu"}) {
    OpRun r("concat", "a bfloat16[3,2,5]~normal bfloat16[3,1,4]~normal", kernel);
    r.run();
    for (int64_t row = 0; row < 6; ++row) {
      for (int64_t i = 0; i < 9; ++i) {
        EXPECT_EQ(r.out(row * 9 + i), i < 5 ? r.in(0, row * 5 + i) : r.in(1, row / 2 * 4 + i - 5));
      }
    }
  }
}

TEST(Concat, HeadsThatDoNotMatchAreRefused) {
  EXPECT_EQ(OpRun("concat", "a float32[3,4,7]~normal float32[3,2,7]~normal").error(),
            "[concat] b: expected 4 heads or 1, found float32[3, 2, 7]");
}

}  // namespace
}  // namespace lockstep
