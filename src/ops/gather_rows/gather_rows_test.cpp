#include <gtest/gtest.h>

#include "ops/op_test_util.h"

namespace lockstep {
namespace {

TEST(GatherRows, CopiesTheRows) {
  for (const char* kernel : {"ref", "cpu"}) {
    OpRun r("gather_rows", "a bfloat16[5,2,3]~normal int32[4]~ids:5", kernel);
    r.run();
    for (int64_t i = 0; i < 24; ++i) {
      EXPECT_EQ(r.out(i), r.in(0, static_cast<int64_t>(r.in(1, i / 6)) * 6 + i % 6));
    }
  }
}

TEST(GatherRows, RowOutOfRangeIsRefused) {
  OpRun r("gather_rows", "a float32[5,2]~normal int32[4]~ids:5");
  r.inputs[1].data<int32_t>()[3] = 5;
  EXPECT_EQ(r.error(), "[gather_rows] rows, entry 3: expected a row in [0, 5), found 5");
}

}  // namespace
}  // namespace lockstep
