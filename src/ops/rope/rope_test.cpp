#include <gtest/gtest.h>

#include "ops/op_test_util.h"

namespace lockstep {
namespace {

TEST(Rope, RotatesHalvesOrPairsAndPassesTheRest) {
  for (const bool half : {true, false}) {
    OpRun r("rope", std::string("a float32[3,2,10]~normal float32[3,8]~normal float32[3,8]~normal "
                                ".style=") +
                        (half ? "half" : "interleaved"));
    r.run();
    for (int64_t row = 0; row < 6; ++row) {
      for (int64_t i = 0; i < 10; ++i) {
        const double x = r.in(0, row * 10 + i);
        double expected = x;
        if (i < 8) {
          const bool first = half ? i < 4 : i % 2 == 0;
          const int64_t partner = half ? (i + 4) % 8 : (first ? i + 1 : i - 1);
          const double turned = r.in(0, row * 10 + partner) * (first ? -1 : 1);
          expected = x * r.in(1, row / 2 * 8 + i) + turned * r.in(2, row / 2 * 8 + i);
        }
        EXPECT_NEAR(r.out(row * 10 + i), expected, 5e-7);
      }
    }
  }
}

TEST(Rope, PairsBecomeHalves) {
  const std::string line =
      "a float32[3,2,10]~normal float32[3,8]~normal float32[3,8]~normal .style=";
  OpRun pairs("rope", line + "interleaved_to_half"), half("rope", line + "half");
  for (int64_t row = 0; row < 6; ++row) {
    for (int64_t i = 0; i < 8; ++i) {
      half.inputs[0].data<float>()[row * 10 + i / 2 + i % 2 * 4] =
          pairs.inputs[0].data<float>()[row * 10 + i];
    }
  }
  pairs.run();
  half.run();
  for (int64_t i = 0; i < 60; ++i) EXPECT_EQ(pairs.out(i), half.out(i));
}

TEST(Rope, PairsMayReadTablesOfHalves) {
  for (const char* kernel : {"ref", "cpu.simd"}) {
    const std::string line =
        "a float32[3,2,10]~normal float32[3,8]~normal float32[3,8]~normal .style=";
    OpRun by_half("rope", line + "interleaved_by_half", kernel);
    OpRun pairs("rope", line + "interleaved", kernel);
    for (const size_t table : {1, 2}) {
      for (int64_t i = 0; i < 3 * 8; ++i) {
        pairs.inputs[table].data<float>()[i] =
            by_half.inputs[table].data<float>()[i / 8 * 8 + i % 8 / 2];
      }
    }
    by_half.run();
    pairs.run();
    for (int64_t i = 0; i < 60; ++i) EXPECT_EQ(by_half.out(i), pairs.out(i));
  }
}

TEST(Rope, BadShapesAreRefused) {
  EXPECT_EQ(OpRun("rope",
                  "a float32[3,2,6]~normal float32[3,8]~normal float32[3,8]~normal "
                  ".style=half")
                .error(),
            "[rope] cos: expected an even number of columns up to 6, found float32[3, 8]");
  EXPECT_EQ(OpRun("rope",
                  "a float32[3,2,8]~normal float32[3,8]~normal float32[2,8]~normal "
                  ".style=half")
                .error(),
            "[rope] sin: expected [3, 8], found float32[2, 8]");
}

}  // namespace
}  // namespace lockstep
