// The one-pass sums against plain loops, in every storage and layout.
#include "parity/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "parity/logits.h"
#include "tensor/tensor.h"

namespace lockstep::parity {
namespace {

ThreadPool& pool() {
  static ThreadPool instance(2);
  return instance;
}

std::vector<float> normal(size_t n, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> distribution;
  std::vector<float> out(n);
  for (float& x : out) x = distribution(engine);
  return out;
}

View view_of(const std::vector<float>& x, std::vector<int64_t> shape) {
  return make_view(x.data(), DType::kFloat32, shape);
}

/// Sizes that are no multiple of any vector, tile or block.
class Sizes : public ::testing::TestWithParam<std::pair<int64_t, int64_t>> {};

TEST_P(Sizes, MatchPlainLoops) {
  const auto [rows, columns] = GetParam();
  const auto n = static_cast<size_t>(rows * columns);
  const std::vector<float> r = normal(n, 1);
  std::vector<float> p = normal(n, 2);
  for (size_t i = 0; i < n; ++i) p[i] = r[i] + 0.01f * p[i];
  CompareOptions options;
  options.per_channel = true;
  const TapMetrics m =
      compare(view_of(r, {rows, columns}), view_of(p, {rows, columns}), options, pool());
  double dd = 0, dr = 0, rr = 0, abs = 0, max = 0;
  std::vector<double> token(static_cast<size_t>(rows)), channel(static_cast<size_t>(columns));
  int64_t at = 0;
  for (size_t i = 0; i < n; ++i) {
    const double d = static_cast<double>(p[i]) - r[i];
    dd += d * d;
    dr += d * r[i];
    rr += static_cast<double>(r[i]) * r[i];
    abs += std::abs(d);
    token[i / static_cast<size_t>(columns)] += d * d;
    channel[i % static_cast<size_t>(columns)] += d * d;
    if (std::abs(d) > max) {
      max = std::abs(d);
      at = static_cast<int64_t>(i);
    }
  }
  EXPECT_NEAR(m.sums.dd, dd, 1e-12 * dd);
  EXPECT_NEAR(m.sums.dr, dr, 1e-12 * std::sqrt(dd * rr));
  EXPECT_NEAR(m.sums.rr, rr, 1e-12 * rr);
  EXPECT_NEAR(m.abs_sum, abs, 1e-12 * abs);
  EXPECT_EQ(m.max_abs, max);
  EXPECT_EQ(m.max_place.row * columns + m.max_place.channel, at);
  EXPECT_EQ(m.max_place.port, p[static_cast<size_t>(at)]);
  for (size_t t = 0; t < token.size(); ++t) EXPECT_NEAR(m.tokens[t].dd, token[t], 1e-12 * dd);
  for (size_t c = 0; c < channel.size(); ++c) EXPECT_NEAR(m.channels[c].dd, channel[c], 1e-12 * dd);
}

INSTANTIATE_TEST_SUITE_P(Odd, Sizes,
                         ::testing::Values(std::pair(1, 1), std::pair(3, 5), std::pair(7, 17),
                                           std::pair(5, 1023), std::pair(3, 1024),
                                           std::pair(2, 1025), std::pair(301, 33),
                                           std::pair(2, 5001), std::pair(1200, 300)));

TEST(Metrics, SumsDoNotDependOnTheNumberOfThreads) {
  constexpr int64_t kRows = 1201, kColumns = 300;
  const std::vector<float> r = normal(kRows * kColumns, 8), p = normal(kRows * kColumns, 9);
  CompareOptions options;
  options.per_channel = true;
  ThreadPool one(1);
  const TapMetrics expected =
      compare(view_of(r, {kRows, kColumns}), view_of(p, {kRows, kColumns}), options, one);
  for (const int n_threads : {2, 3, 16}) {
    ThreadPool threads(n_threads);
    const TapMetrics m =
        compare(view_of(r, {kRows, kColumns}), view_of(p, {kRows, kColumns}), options, threads);
    EXPECT_EQ(m.sums.dd, expected.sums.dd);
    for (size_t c = 0; c < kColumns; ++c) {
      EXPECT_EQ(m.channels[c].dd, expected.channels[c].dd)
          << n_threads << " threads, channel " << c;
      EXPECT_EQ(m.channels[c].dr, expected.channels[c].dr);
    }
  }
}

TEST(Metrics, EveryStorageTypeReadsTheSame) {
  const std::vector<float> r = normal(40 * 48, 3);
  for (const DType dtype : {DType::kFloat64, DType::kFloat16, DType::kBFloat16}) {
    Tensor stored(dtype, {40, 48});
    std::vector<float> widened(r.size());
    for (size_t i = 0; i < r.size(); ++i) {
      if (dtype == DType::kFloat64) stored.data<double>()[i] = r[i];
      if (dtype == DType::kFloat16) stored.data<uint16_t>()[i] = float_to_float16(r[i]);
      if (dtype == DType::kBFloat16) stored.data<uint16_t>()[i] = float_to_bfloat16(r[i]);
      widened[i] =
          static_cast<float>(load_element(stored.view().data, dtype, static_cast<int64_t>(i)));
    }
    const TapMetrics m = compare(view_of(widened, {40, 48}), stored.view(), {}, pool());
    EXPECT_EQ(m.sums.dd, 0) << dtype_name(dtype);
    EXPECT_EQ(m.port_bits, m.reference_bits);
  }
}

TEST(Metrics, ScaleAndDirectionApart) {
  const std::vector<float> r = normal(64 * 64, 4);
  std::vector<float> p = r;
  for (float& x : p) x *= 0.5f;
  const TapMetrics m = compare(view_of(r, {64, 64}), view_of(p, {64, 64}), {}, pool());
  EXPECT_NEAR(m.sums.alpha(), 0.5, 1e-12);
  EXPECT_NEAR(m.sums.residual(), 0, 1e-7);
  EXPECT_NEAR(m.sums.cosine(), 1, 1e-12);
  EXPECT_NEAR(m.sums.relative_l2(), 0.5, 1e-12);
}

TEST(Metrics, OneMassiveChannelHidesNothing) {
  std::vector<float> r = normal(64 * 128, 5), p = normal(64 * 128, 6);
  for (size_t t = 0; t < 64; ++t) r[t * 128 + 9] = p[t * 128 + 9] = 3000;
  const TapMetrics m = compare(view_of(r, {64, 128}), view_of(p, {64, 128}), {}, pool());
  EXPECT_GT(m.sums.cosine(), 0.9999);
  ASSERT_TRUE(m.without_largest);
  EXPECT_EQ(m.largest.front().channel, 9);
  EXPECT_LT(m.without_largest->cosine(), 0.1);
  EXPECT_GT(m.profile().trimmed, 1);
}

TEST(Metrics, CountsWhatIsNotFinite) {
  std::vector<float> r = normal(10 * 20, 7), p = r;
  p[45] = NAN;
  p[46] = INFINITY;
  r[199] = -INFINITY;
  const TapMetrics m = compare(view_of(r, {10, 20}), view_of(p, {10, 20}), {}, pool());
  EXPECT_EQ(m.port_nonfinite, 2);
  EXPECT_EQ(m.reference_nonfinite, 1);
  EXPECT_EQ(m.nonfinite_place.token, 2);
  EXPECT_EQ(m.nonfinite_place.channel, 5);
  EXPECT_EQ(m.sums.dd, 0);
}

TEST(Metrics, MaskedScoresAreLeftOut) {
  std::vector<float> r = normal(2 * 3 * 8, 8), p = r;
  for (size_t i = 0; i < r.size(); i += 2) {
    r[i] = -3.4e38f;
    p[i] = -INFINITY;
  }
  CompareOptions options;
  options.heads_first = options.may_mask = true;
  TapMetrics m = compare(view_of(r, {2, 3, 8}), view_of(p, {2, 3, 8}), options, pool());
  EXPECT_EQ(m.masked, 24);
  EXPECT_EQ(m.sums.dd, 0);
  EXPECT_LT(m.sums.rr, 1000);
  p[0] = 1;
  m = compare(view_of(r, {2, 3, 8}), view_of(p, {2, 3, 8}), options, pool());
  EXPECT_EQ(m.mask_mismatches, 1);
  // Masks of huge values are found without being told, too.
  options.may_mask = false;
  p = r;
  m = compare(view_of(r, {2, 3, 8}), view_of(p, {2, 3, 8}), options, pool());
  EXPECT_EQ(m.masked, 24);
}

TEST(Metrics, HashesTellContentsAndOrderApart) {
  const std::vector<float> r = normal(6 * 40, 9);
  std::vector<float> p = r;
  EXPECT_TRUE(compare(view_of(r, {6, 40}), view_of(p, {6, 40}), {}, pool()).identical());
  std::swap_ranges(p.begin(), p.begin() + 40, p.begin() + 40);
  const TapMetrics m = compare(view_of(r, {6, 40}), view_of(p, {6, 40}), {}, pool());
  EXPECT_NE(m.reference_hash, m.port_hash);
}

TEST(Metrics, ShapesThatMeanTheSame) {
  const std::vector<float> x(24);
  const auto shape = [&](std::vector<int64_t> s) { return view_of(x, std::move(s)); };
  EXPECT_TRUE(pair_shapes(shape({2, 3, 4}), shape({2, 12}), false));
  EXPECT_TRUE(pair_shapes(shape({6, 4}), shape({2, 3, 4}), false));
  EXPECT_FALSE(pair_shapes(shape({2, 12}), shape({12, 2}), false));
  EXPECT_FALSE(pair_shapes(shape({24}), shape({1, 12}), false));
  EXPECT_FALSE(pair_shapes(shape({2, 3, 4}), shape({3, 2, 4}), false));
}

TEST(Logits, AgreementDivergenceAndTies) {
  std::vector<float> r = normal(4 * 50, 10), p = r;
  r[50 + 7] = p[50 + 7] = 9;
  r[50 + 8] = 8.9999f;
  p[50 + 8] = 9.0001f;
  const LogitsMetrics m = compare_logits(view_of(r, {4, 50}), view_of(p, {4, 50}), false, pool());
  EXPECT_EQ(m.same_top1, 3);
  ASSERT_EQ(m.flips.size(), 1u);
  EXPECT_EQ(m.flips[0].row, 1);
  EXPECT_EQ(m.flips[0].reference_id, 7);
  EXPECT_EQ(m.flips[0].port_id, 8);
  EXPECT_NEAR(m.flips[0].margin, 1e-4, 1e-6);
  EXPECT_EQ(m.kl_max_row, 1);
  EXPECT_LT(m.kl_max, 1e-6);
  EXPECT_EQ(m.top_k_overlap, 1);
}

}  // namespace
}  // namespace lockstep::parity
