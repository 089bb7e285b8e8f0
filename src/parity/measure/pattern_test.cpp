#include "parity/measure/pattern.h"

#include <gtest/gtest.h>

#include "parity/measure/test_matrices.h"

namespace lockstep::parity::measure {
namespace {

TEST(Pattern, OneFactorIsFoundAndNoOtherPatternNeedsToBe) {
  const Array e = random_matrix(9, 24, 1);
  const auto factor = whole_factor(noisy(scaled(e, 0.22), kNoise), e, kBar);
  ASSERT_TRUE(factor.has_value());
  EXPECT_NEAR(*factor, 0.22, 1e-7);
  Array one_row = scaled(e, 0.22);
  for (double& x : row(one_row, 4)) x *= 1.0001;
  EXPECT_FALSE(whole_factor(one_row, e, kBar).has_value());
  EXPECT_TRUE(row_factors(one_row, e, kBar).has_value());
  EXPECT_FALSE(column_factors(one_row, e, kBar).has_value());
}

TEST(Pattern, FactorsOfColumnsAndHeads) {
  const Array e = random_matrix(7, 24, 2);
  Array f = e;
  for (int64_t r = 0; r < f.rows(); ++r) {
    for (int64_t c = 0; c < f.width(); ++c) at(f, r, c) *= 1 + static_cast<double>(c / 8);
  }
  const auto heads = run_factors(noisy(f, kNoise), e, 8, kBar);
  ASSERT_TRUE(heads.has_value());
  EXPECT_NEAR((*heads)[2], 3, 1e-6);
  EXPECT_FALSE(run_factors(f, e, 12, kBar).has_value());
  EXPECT_TRUE(column_factors(f, e, kBar).has_value());
  EXPECT_FALSE(row_factors(f, e, kBar).has_value());
}

TEST(Pattern, BlocksOfAWeight) {
  const Array e = random_matrix(10, 12, 3);
  Array f = e;
  for (int64_t r = 0; r < 10; ++r) {
    for (int64_t c = 0; c < 12; ++c) at(f, r, c) *= 1 + static_cast<double>(3 * (r / 4) + c / 4);
  }
  const auto blocks = block_factors(f, e, 4, 4, kBar);
  ASSERT_TRUE(blocks.has_value());
  EXPECT_EQ(blocks->size(), 9u);
  EXPECT_NEAR((*blocks)[5], 6, 1e-9);
  EXPECT_FALSE(block_factors(f, e, 8, 4, kBar).has_value());
}

TEST(Pattern, AnAddendIsTheSameInEveryRow) {
  const Array e = random_matrix(6, 10, 4);
  const std::vector<double> bias = random_row(10, 5);
  Array f = e;
  for (int64_t r = 0; r < f.rows(); ++r) {
    for (int64_t c = 0; c < f.width(); ++c) at(f, r, c) -= bias[static_cast<size_t>(c)];
  }
  const auto addend = row_addend(noisy(f, kNoise), e, kBar);
  ASSERT_TRUE(addend.has_value());
  EXPECT_NEAR((*addend)[3], -bias[3], 1e-6);
  at(f, 2, 3) += 0.01;
  EXPECT_FALSE(row_addend(f, e, kBar).has_value());
  EXPECT_FALSE(row_addend(row_range(f, 0, 1), row_range(e, 0, 1), kBar).has_value());
}

TEST(Pattern, RowsAndColumnsElsewhere) {
  const Array e = random_matrix(5, 6, 6);
  Array f = matrix(5, 6);
  const std::vector<int64_t> to = {2, 0, 1, 4, 3};
  for (int64_t r = 0; r < 5; ++r) std::ranges::copy(row(e, to[r]), row(f, r).begin());
  EXPECT_EQ(row_places(noisy(f, kNoise), e, kBar), to);
  for (double& x : row(f, 3)) x = 0;
  EXPECT_EQ(row_places(f, e, kBar)->at(3), -1);
  at(f, 3, 0) = 7;
  EXPECT_FALSE(row_places(f, e, kBar).has_value());
  EXPECT_EQ(column_places(e, e, kBar), (std::vector<int64_t>{0, 1, 2, 3, 4, 5}));
}

TEST(Pattern, EqualColumnsStayWhereTheyAre) {
  Array e = random_matrix(3, 4, 7);
  for (int64_t r = 0; r < 3; ++r) at(e, r, 2) = at(e, r, 1);
  EXPECT_EQ(column_places(e, e, kBar), (std::vector<int64_t>{0, 1, 2, 3}));
}

}  // namespace
}  // namespace lockstep::parity::measure
