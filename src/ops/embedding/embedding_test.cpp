#include <gtest/gtest.h>

#include "ops/op_test_util.h"

namespace lockstep {
namespace {

TEST(Embedding, TakesTheRowsOfItsIds) {
  for (const char* kernel : {"ref", "cpu.simd"}) {
    OpRun r("embedding", "a int32[4]~ids:9 float32[9,5]~normal", kernel);
    r.run();
    for (int64_t t = 0; t < 4; ++t) {
      const auto id = static_cast<int64_t>(r.in(0, t));
      for (int64_t i = 0; i < 5; ++i) EXPECT_EQ(r.out(t * 5 + i), r.in(1, id * 5 + i));
    }
  }
}

TEST(Embedding, IdOutOfRangeNamesRowIdAndVocabulary) {
  OpRun r("embedding", "a int32[3]~ids:9 float32[9,5]~normal");
  r.inputs[0].data<int32_t>()[2] = 9;
  EXPECT_EQ(r.error(), "[embedding] ids, row 2: expected a token id in [0, 9), found 9");
  r.inputs[0].data<int32_t>()[2] = -1;
  EXPECT_NE(r.error().find("found -1"), std::string::npos);
}

TEST(Embedding, WrongTypesAreRefused) {
  EXPECT_EQ(OpRun("embedding", "a float32[3]~normal float32[9,5]~normal").error(),
            "[embedding] ids: expected int32, found float32[3]");
  EXPECT_EQ(OpRun("embedding", "a int32[3]~ids:1 float32[9]~normal").error(),
            "[embedding] weight: expected rank 2, found float32[9]");
  EXPECT_EQ(OpRun("embedding", "a int32[3]~ids:1").error(),
            "[embedding] number of inputs: expected 2, found 1");
}

}  // namespace
}  // namespace lockstep
