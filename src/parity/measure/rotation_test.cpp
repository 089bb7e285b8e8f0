#include "parity/measure/rotation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "parity/measure/frequency_law.h"
#include "parity/measure/test_matrices.h"

namespace lockstep::parity::measure {
namespace {

constexpr int64_t kTokens = 27, kHeads = 3, kWidth = 16;

std::vector<double> positions(int64_t n = kTokens) {
  std::vector<double> p(static_cast<size_t>(n));
  std::iota(p.begin(), p.end(), 0);
  return p;
}

std::vector<double> powers(double base, int64_t width, int64_t denominator = 0) {
  std::vector<double> out;
  for (int64_t j = 0; j < width / 2; ++j) {
    out.push_back(std::pow(base, -2.0 * static_cast<double>(j) /
                                     static_cast<double>(denominator == 0 ? width : denominator)));
  }
  return out;
}

Array vectors(uint64_t seed = 1) {
  Array x = random_matrix(kTokens * kHeads, kWidth, seed);
  x.shape = {kTokens, kHeads, kWidth};
  return x;
}

class Rotations : public ::testing::TestWithParam<Rotation> {};

TEST_P(Rotations, AreReadOffTheVectors) {
  const Array x = vectors();
  const Array y = noisy(rotate(x, positions(), GetParam()), kNoise);
  const auto found = measure_rotation(x, y, positions(), kBar);
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->pairing, GetParam().pairing);
  EXPECT_EQ(found->first, GetParam().first);
  EXPECT_EQ(found->width, GetParam().width);
  EXPECT_NEAR(found->offset, GetParam().offset, 1e-4);
  EXPECT_NEAR(found->factor, GetParam().factor, 1e-6);
  for (size_t j = 0; j < found->frequency.size(); ++j) {
    EXPECT_NEAR(found->frequency[j], GetParam().frequency[j], 3e-8) << j;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Styles, Rotations,
    ::testing::Values(Rotation{Pairing::kHalf, 0, 16, powers(1e4, 16), 0, 1},
                      Rotation{Pairing::kInterleaved, 0, 16, powers(5e5, 16), 0, 1},
                      Rotation{Pairing::kInterleavedToHalf, 0, 16, powers(1e6, 16), 0, 1},
                      Rotation{Pairing::kHalf, 0, 8, powers(1e4, 8), 0, 1},
                      Rotation{Pairing::kHalf, 8, 8, powers(1e4, 8), 0, 1},
                      Rotation{Pairing::kInterleaved, 0, 12, powers(1e4, 12), 0, 1},
                      Rotation{Pairing::kHalf, 0, 16, powers(1e4, 16), 1, 1},
                      Rotation{Pairing::kInterleaved, 0, 16, powers(1e4, 16), -7, 1},
                      Rotation{Pairing::kHalf, 0, 16, powers(1e4, 16), 0, 1.2608}));

TEST(Rotation, NoneIsAWidthOfZero) {
  const auto found = measure_rotation(vectors(), vectors(), positions(), kBar);
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->width, 0);
}

TEST(Rotation, WhatIsNoneIsNotMeasured) {
  const Array x = vectors();
  const Rotation rotation{Pairing::kHalf, 0, 16, powers(1e4, 16), 0, 1};
  EXPECT_FALSE(measure_rotation(x, vectors(2), positions(), kBar).has_value());
  // One head that is not turned, one token at the wrong place, angles that are not linear.
  Array y = rotate(x, positions(), rotation);
  std::copy_n(x.values.data() + kWidth, kWidth, y.values.data() + kWidth);
  std::copy_n(x.values.data() + 4 * kWidth, kWidth, y.values.data() + 4 * kWidth);
  EXPECT_FALSE(measure_rotation(x, y, positions(), kBar).has_value());
  std::vector<double> bent = positions();
  for (double& p : bent) p += 0.001 * p * p;
  EXPECT_FALSE(measure_rotation(x, rotate(x, bent, rotation), positions(), kBar).has_value());
}

TEST(Rotation, HeadsThatAreNotTurned) {
  const Array x = vectors();
  Array y = rotate(x, positions(), {Pairing::kHalf, 0, 16, powers(1e4, 16), 0, 1});
  for (int64_t t = 0; t < kTokens; ++t) {
    const auto at = static_cast<size_t>((t * kHeads + 2) * kWidth);
    std::copy_n(x.values.begin() + static_cast<int64_t>(at), kWidth,
                y.values.begin() + static_cast<int64_t>(at));
  }
  EXPECT_EQ(same_heads(x, y, kBar), (std::vector<bool>{false, false, true}));
  const std::vector<bool> tokens = same_tokens(x, y, kBar);
  EXPECT_TRUE(tokens[0]);
  EXPECT_FALSE(tokens[1]);
}

TEST(Rotation, TablesAreMeasuredInTheirOwnOrder) {
  const std::vector<double> frequency = powers(1e4, 8);
  Array cosines = matrix(kTokens, 8), sines = matrix(kTokens, 8);
  for (int64_t t = 0; t < kTokens; ++t) {
    for (int64_t c = 0; c < 8; ++c) {
      const double angle = frequency[static_cast<size_t>(c % 4)] * static_cast<double>(t + 2);
      at(cosines, t, c) = 1.5 * std::cos(angle);
      at(sines, t, c) = 1.5 * std::sin(angle);
    }
  }
  const auto found =
      measure_tables(noisy(cosines, kNoise), sines, Pairing::kHalf, positions(), kBar);
  ASSERT_TRUE(found.has_value());
  EXPECT_NEAR(found->factor, 1.5, 1e-6);
  EXPECT_NEAR(found->offset, 2, 1e-4);
  EXPECT_NEAR(found->frequency[3], frequency[3], 1e-8);
  EXPECT_FALSE(
      measure_tables(cosines, sines, Pairing::kInterleaved, positions(), kBar).has_value());

  const auto of_cosines =
      measure_table(noisy(cosines, kNoise), Table::kCosines, Pairing::kHalf, positions(), kBar);
  ASSERT_TRUE(of_cosines.has_value());
  EXPECT_NEAR(of_cosines->factor, 1.5, 1e-5);
  EXPECT_NEAR(of_cosines->frequency[2], frequency[2], 1e-6);
  const auto of_sines =
      measure_table(noisy(sines, kNoise), Table::kSines, Pairing::kHalf, positions(), kBar);
  ASSERT_TRUE(of_sines.has_value());
  EXPECT_NEAR(of_sines->frequency[3], frequency[3], 1e-7);
}

TEST(FrequencyLaw, BaseAndFactor) {
  const auto law = power_law(powers(5e5, 32), 1e-9);
  ASSERT_TRUE(law.has_value());
  EXPECT_NEAR(law->base, 5e5, 5);
  EXPECT_EQ(law->factor, 1);
  std::vector<double> slow = powers(1e4, 32);
  for (double& f : slow) f /= 4;
  EXPECT_NEAR(power_law(slow, 1e-9)->factor, 4, 1e-6);
  slow[3] *= 1.01;
  EXPECT_FALSE(power_law(slow, 1e-9).has_value());
  EXPECT_FALSE(power_law(std::vector<double>{1, 0.1}, 1e-9).has_value());
}

TEST(FrequencyLaw, TellsWhereListsDiffer) {
  const std::vector<double> plain = powers(1e4, 32);
  const double tolerance = 1e-8;
  const auto fault = [&](const std::vector<double>& port, const std::vector<double>& reference) {
    return compare_frequencies(port, reference, tolerance).fault;
  };
  EXPECT_EQ(fault(plain, plain), FrequencyFault::kNone);
  EXPECT_EQ(fault(powers(5e5, 32), plain), FrequencyFault::kBase);
  // An exponent over another width is another base: 1e4^(32/64).
  const auto denominator = compare_frequencies(powers(1e4, 32, 64), plain, tolerance);
  EXPECT_EQ(denominator.fault, FrequencyFault::kBase);
  EXPECT_NEAR(denominator.port.base, 100, 1e-3);
  std::vector<double> changed = plain;
  for (double& f : changed) f = -f;
  EXPECT_EQ(fault(changed, plain), FrequencyFault::kSign);
  for (double& f : changed) f /= -8;
  EXPECT_EQ(fault(plain, changed), FrequencyFault::kLinear);
  changed = plain;
  std::ranges::reverse(changed);
  EXPECT_EQ(fault(changed, plain), FrequencyFault::kOrder);
  // As llama3: the slow ones are divided, those between a little.
  changed = plain;
  for (size_t j = 6; j < changed.size(); ++j) changed[j] /= j < 9 ? 2 : 8;
  const auto ignored = compare_frequencies(plain, changed, tolerance);
  EXPECT_EQ(ignored.fault, FrequencyFault::kScalingIgnored);
  EXPECT_NEAR(ignored.ratio, 1.0 / 8, 1e-9);
  EXPECT_EQ(fault(changed, plain), FrequencyFault::kScalingAdded);
  changed[5] *= 1.5;
  EXPECT_EQ(fault(plain, changed), FrequencyFault::kUnknown);
}

}  // namespace
}  // namespace lockstep::parity::measure
