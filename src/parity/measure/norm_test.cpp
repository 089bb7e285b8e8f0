#include "parity/measure/norm.h"

#include <gtest/gtest.h>

#include "parity/measure/test_matrices.h"

namespace lockstep::parity::measure {
namespace {

const Array kNothing;

Array weight(uint64_t seed) {
  Array w = random_matrix(1, 24, seed);
  for (double& v : w.values) v = 1 + 0.3 * v;
  return w;
}

// Rows of different sizes, so that an epsilon shows in some and not in others.
Array rows_of_sizes() {
  Array x = random_matrix(8, 24, 1);
  for (int64_t r = 0; r < 8; ++r) {
    for (double& v : row(x, r)) v *= 0.02 * static_cast<double>(r + 1);
  }
  return x;
}

TEST(Norm, EpsilonIsReadOff) {
  const Array x = rows_of_sizes(), w = weight(2);
  for (const double eps : {0.0, 1e-6, 1e-5, 1e-2}) {
    NormForm form;
    form.eps = eps;
    const Array y = noisy(norm(x, w, kNothing, form), kNoise);
    const auto found = measure_epsilon(x, y, w, kNothing, {}, kBar);
    ASSERT_TRUE(found.has_value()) << eps;
    EXPECT_NEAR(found->eps, eps, found->error + 1e-3 * eps) << eps;
    EXPECT_LT(found->error, 2e-8);
  }
}

TEST(Norm, EpsilonOutsideIsAnotherForm) {
  const Array x = rows_of_sizes(), w = weight(2);
  NormForm outside;
  outside.epsilon = Epsilon::kOutside;
  outside.eps = 1e-2;
  const Array y = norm(x, w, kNothing, outside);
  EXPECT_FALSE(measure_epsilon(x, y, w, kNothing, {}, kBar).has_value());
  const auto found = measure_epsilon(x, y, w, kNothing, outside, kBar);
  ASSERT_TRUE(found.has_value());
  EXPECT_NEAR(found->eps, 1e-2, 1e-6);
}

TEST(Norm, FormsAreToldApart) {
  const Array x = sum(rows_of_sizes(), random_matrix(1, 24, 8)), w = weight(3);
  const Array b = random_matrix(1, 24, 4);
  const NormForm centred{Centre::kMean, Epsilon::kInside, Squares::kMean, 1e-5, 0};
  const Array y = norm(x, w, b, centred);
  EXPECT_TRUE(measure_epsilon(x, y, w, b, centred, kBar).has_value());
  EXPECT_FALSE(measure_epsilon(x, y, w, kNothing, centred, kBar).has_value());
  EXPECT_FALSE(measure_epsilon(x, y, w, b, {}, kBar).has_value());
  NormForm unbiased = centred;
  unbiased.squares = Squares::kUnbiased;
  EXPECT_FALSE(measure_epsilon(x, y, w, b, unbiased, kBar).has_value());
  NormForm offset;
  offset.weight_offset = 1;
  EXPECT_FALSE(measure_epsilon(x, norm(x, w, kNothing, offset), w, kNothing, {}, kBar).has_value());
}

TEST(Norm, TheWeightIsReadOff) {
  const Array x = rows_of_sizes(), w = weight(5);
  NormForm form;
  form.weight_offset = 1;
  const auto found = measure_weight(x, noisy(norm(x, w, kNothing, form), kNoise), {}, kBar);
  ASSERT_TRUE(found.has_value());
  for (size_t c = 0; c < 24; ++c) EXPECT_NEAR((*found)[c], w.values[c] + 1, 1e-5);
  EXPECT_FALSE(measure_weight(x, random_matrix(8, 24, 9), {}, kBar).has_value());
}

TEST(Norm, WeightsOfHeadsGoRound) {
  const Array x = random_matrix(6, 4, 1), w = random_matrix(2, 4, 2);
  const Array y = norm(x, w, kNothing, {});
  EXPECT_DOUBLE_EQ(at(y, 3, 1), at(norm(x, row_range(w, 1, 2), kNothing, {}), 3, 1));
}

}  // namespace
}  // namespace lockstep::parity::measure
