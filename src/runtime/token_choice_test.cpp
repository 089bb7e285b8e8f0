// Sampling against formulas computed independently here, and distributions by chi-square.
#include "runtime/token_choice.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>

#include "runtime/logprobs.h"
#include "runtime/philox.h"
#include "runtime/sampler.h"

namespace lockstep {
namespace {

constexpr float kInf = INFINITY;

class TokenChoiceTest : public ::testing::Test {
 protected:
  static TokenChoice choice_of(const SamplingParams& params, std::vector<int32_t> prompt = {},
                               std::vector<int32_t> ends = {},
                               std::shared_ptr<TokenMask> mask = nullptr) {
    return TokenChoice(params, prompt, std::move(ends), 1, std::move(mask));
  }
  static SamplingParams greedy() {
    SamplingParams params;
    params.temperature = 0;
    return params;
  }
  static int32_t choose(TokenChoice choice, const std::vector<float>& logits) {
    ChoiceScratch scratch(static_cast<int64_t>(logits.size()));
    return choice.choose(logits, scratch).value_or(-1);
  }
  static std::vector<float> random_logits(uint32_t seed, size_t n) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0, 2);
    std::vector<float> logits(n);
    for (float& x : logits) x = normal(random);
    return logits;
  }

  // What `params` leave of `logits`, by definition: sorted, in float64.
  static std::map<int32_t, double> expected_of(const SamplingParams& params,
                                               const std::vector<float>& logits) {
    std::vector<std::pair<double, int32_t>> order;
    double sum = 0;
    for (size_t i = 0; i < logits.size(); ++i) {
      order.emplace_back(std::exp(logits[i] / params.temperature), static_cast<int32_t>(i));
      sum += order.back().first;
    }
    std::ranges::sort(order, [](const auto& a, const auto& b) {
      return a.first != b.first ? a.first > b.first : a.second < b.second;
    });
    const double least = params.min_p * order.front().first;
    std::erase_if(order, [&](const auto& entry) { return entry.first < least; });
    if (params.top_k > 0 && static_cast<size_t>(params.top_k) < order.size()) {
      order.resize(static_cast<size_t>(params.top_k));
    }
    sum = 0;
    for (const auto& [weight, id] : order) sum += weight;
    double before = 0;
    std::map<int32_t, double> kept;
    for (const auto& [weight, id] : order) {
      if (before >= params.top_p * sum && before > 0) break;
      kept[id] = weight;
      before += weight;
    }
    for (auto& [id, weight] : kept) weight /= before;
    return kept;
  }

  // Draws with the seeds 0 to n - 1 against what is expected: nothing outside, and chi-square below
  // its 1 - 1e-6 quantile (Wilson and Hilferty).
  static void expect_distribution(SamplingParams params, const std::vector<float>& logits) {
    const std::map<int32_t, double> expected = expected_of(params, logits);
    constexpr int kDraws = 20000;
    std::map<int32_t, int> drawn;
    ChoiceScratch scratch(static_cast<int64_t>(logits.size()));
    for (int i = 0; i < kDraws; ++i) {
      params.seed = static_cast<uint64_t>(i);
      const auto id = choice_of(params).choose(logits, scratch);
      ASSERT_TRUE(id && expected.contains(*id)) << id.value_or(-1);
      ++drawn[*id];
    }
    double chi_square = 0, rest_expected = 0, rest_drawn = 0;
    double freedom = -1;
    for (const auto& [id, probability] : expected) {
      const double wanted = probability * kDraws;
      if (wanted < 10) {
        rest_expected += wanted;
        rest_drawn += drawn[id];
        continue;
      }
      chi_square += (drawn[id] - wanted) * (drawn[id] - wanted) / wanted;
      ++freedom;
    }
    if (rest_expected >= 10) {
      chi_square += (rest_drawn - rest_expected) * (rest_drawn - rest_expected) / rest_expected;
      ++freedom;
    }
    if (freedom < 1) return;
    const double part = 2 / (9 * freedom);
    const double bound = freedom * std::pow(1 - part + 4.75 * std::sqrt(part), 3);
    EXPECT_LT(chi_square, bound) << freedom << " degrees of freedom";
  }
};

TEST(Philox, GivesThePublishedNumbers) {
  // Random123's known answers.
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}),
            (PhiloxBlock{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (PhiloxBlock{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (PhiloxBlock{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST_F(TokenChoiceTest, GreedyTakesTheLowestOfEquals) {
  EXPECT_EQ(choose(choice_of(greedy()), {1, 3, 2, 3}), 1);
  EXPECT_EQ(choose(choice_of(greedy()), {NAN, -kInf, -4, NAN}), 2);
  EXPECT_EQ(choose(choice_of(greedy()), {-kInf, NAN}), -1);
  SamplingParams top = {};
  top.top_k = 1;
  EXPECT_EQ(choose(choice_of(top), {1, 3, 2, 3}), 1);
  top.top_k = 0;
  top.top_p = 1e-9;
  EXPECT_EQ(choose(choice_of(top), {1, 3, 2, 3}), 1);
}

TEST_F(TokenChoiceTest, DrawsFollowTheDistribution) {
  const std::vector<float> logits = random_logits(3, 300);
  SamplingParams params;
  expect_distribution(params, logits);
  for (const double temperature : {0.3, 1.7}) {
    params.temperature = temperature;
    expect_distribution(params, logits);
    params.top_k = 12;
    expect_distribution(params, logits);
    params.top_p = 0.7;
    expect_distribution(params, logits);
    params.top_k = -1;
    expect_distribution(params, logits);
    params.min_p = 0.05;
    expect_distribution(params, logits);
    params.top_p = 1;
    expect_distribution(params, logits);
    params.min_p = 0;
  }
}

TEST_F(TokenChoiceTest, TopPSortsAsFarAsItMust) {
  // Nearly all of 5,000 alike: the share ends far behind the first piece that is sorted.
  std::vector<float> logits(5000, 0.0f);
  logits[4321] = 1;
  SamplingParams params;
  params.top_p = 0.5;
  const std::map<int32_t, double> expected = expected_of(params, logits);
  ChoiceScratch scratch(5000);
  int32_t highest = 0;
  for (uint64_t i = 0; i < 5000; ++i) {
    params.seed = i;
    const auto id = choice_of(params).choose(logits, scratch);
    ASSERT_TRUE(id && expected.contains(*id));
    if (*id != 4321) highest = std::max(highest, *id);
  }
  EXPECT_GT(highest, 2400);
}

TEST_F(TokenChoiceTest, DrawsAtEachPositionAreTheirOwn) {
  const std::vector<float> logits(100, 0.0f);
  SamplingParams params;
  params.seed = 9;
  ChoiceScratch scratch(100);
  TokenChoice choice = choice_of(params), again = choice_of(params);
  std::vector<int32_t> tokens;
  for (int i = 0; i < 50; ++i) {
    tokens.push_back(*choice.choose(logits, scratch));
    EXPECT_EQ(*again.choose(logits, scratch), tokens.back());
    EXPECT_EQ(tokens.back(), static_cast<int32_t>(uniform_at(9, static_cast<uint64_t>(i)) * 100));
    choice.accept(tokens.back());
    again.accept(tokens.back());
  }
  std::ranges::sort(tokens);
  EXPECT_GT(std::ranges::unique(tokens).begin() - tokens.begin(), 25);
}

TEST_F(TokenChoiceTest, PenaltiesAreVllms) {
  // Prompt {0, 1}, output {1, 2, 2}: repetition of 0, 1, 2; frequency and presence of 1, 2.
  SamplingParams params = greedy();
  params.repetition_penalty = 2;
  params.frequency_penalty = 0.5;
  params.presence_penalty = 0.25;
  const auto chosen = [&](const std::vector<float>& logits) {
    TokenChoice choice = choice_of(params, {0, 1});
    for (const int32_t token : {1, 2, 2}) choice.accept(token);
    return choose(choice, logits);
  };
  // What is left of 4 at 0, 1, 2: 2, 2 - 0.75, 2 - 1.25; of -1: -2, -2.75, -3.25.
  EXPECT_EQ(chosen({4, -9, -9, 2.01f}), 3);
  EXPECT_EQ(chosen({4, -9, -9, 1.99f}), 0);
  EXPECT_EQ(chosen({-9, 4, -9, 1.26f}), 3);
  EXPECT_EQ(chosen({-9, 4, -9, 1.24f}), 1);
  EXPECT_EQ(chosen({-9, -9, 4, 0.76f}), 3);
  EXPECT_EQ(chosen({-9, -9, 4, 0.74f}), 2);
  EXPECT_EQ(chosen({-1, -9, -9, -1.99f}), 3);
  EXPECT_EQ(chosen({-1, -9, -9, -2.01f}), 0);
  EXPECT_EQ(chosen({-9, -9, -1, -3.24f}), 3);
  EXPECT_EQ(chosen({-9, -9, -1, -3.26f}), 2);
}

TEST_F(TokenChoiceTest, BiasesBadWordsAndAllowedIds) {
  SamplingParams params = greedy();
  params.logit_bias = {{2, 5.0f}, {0, -5.0f}};
  EXPECT_EQ(choose(choice_of(params), {3, 2, 0, 1}), 2);
  params.logit_bias.clear();
  params.allowed_token_ids = {1, 3};
  EXPECT_EQ(choose(choice_of(params), {3, 2, 0, 1}), 1);
  params.bad_words = {{1}};
  EXPECT_EQ(choose(choice_of(params), {3, 2, 0, 1}), 3);
  params.bad_words = {{1}, {3}};
  EXPECT_EQ(choose(choice_of(params), {3, 2, 0, 1}), -1);
  params = greedy();
  params.bad_words = {{2, 1, 0}};
  TokenChoice choice = choice_of(params, {2, 1});
  EXPECT_EQ(choose(choice, {3, 2, 0, 1}), 0) << "the prompt does not count";
  choice.accept(2);
  EXPECT_EQ(choose(choice, {3, 2, 0, 1}), 0);
  choice.accept(1);
  EXPECT_EQ(choose(choice, {3, 2, 0, 1}), 1);
  choice.accept(1);
  EXPECT_EQ(choose(choice, {3, 2, 0, 1}), 0);
}

TEST_F(TokenChoiceTest, MinTokensHoldsBackEnds) {
  SamplingParams params = greedy();
  params.min_tokens = 1;
  params.stop_token_ids = {1};
  TokenChoice choice = choice_of(params, {}, {0});
  EXPECT_EQ(choose(choice, {3, 2, 0, 1}), 3);
  choice.accept(3);
  EXPECT_EQ(choose(choice, {3, 2, 0, 1}), 0);
}

TEST(Logprobs, AreALogSoftmaxInFloat64) {
  const std::vector<float> logits = {1, 3, 2, 3, -2};
  double sum = 0;
  for (const float x : logits) sum += std::exp(static_cast<double>(x));
  std::vector<int32_t> scratch;
  const PositionLogprobs two = position_logprobs(logits, 2, 2, scratch);
  EXPECT_EQ(two.chosen.id, 2);
  EXPECT_FLOAT_EQ(two.chosen.logprob, static_cast<float>(2 - std::log(sum)));
  EXPECT_EQ(two.rank, 3);
  ASSERT_EQ(two.top.size(), 2u);
  EXPECT_EQ(two.top[0].id, 1);
  EXPECT_EQ(two.top[1].id, 3);
  EXPECT_FLOAT_EQ(two.top[0].logprob, static_cast<float>(3 - std::log(sum)));
  EXPECT_EQ(position_logprobs(logits, 1, -1, scratch).top.size(), 5u);
  EXPECT_EQ(position_logprobs(logits, 1, 0, scratch).rank, 2);
  EXPECT_EQ(position_logprobs(logits, 1, 0, scratch).top.size(), 0u);
}

TEST(SamplerTest, RowsOfBothTypesGoToTheirJobs) {
  ThreadPool pool(3);
  Sampler sampler(4, pool);
  const std::vector<float> rows = {0, 1, 0, 0, 0, 0, 2, 0, 3, 0, 0, 0};
  std::vector<uint16_t> halves;
  for (const float x : rows) halves.push_back(float_to_bfloat16(x));
  const int64_t shape[] = {3, 4};
  const View views[] = {make_view(rows.data(), DType::kFloat32, shape),
                        make_view(halves.data(), DType::kBFloat16, shape)};
  SamplingParams params;
  params.temperature = 0;
  for (const View& view : views) {
    TokenChoice first(params, {}, {}, 1, nullptr), second = first;
    std::vector<SampleJob> jobs(3);
    jobs[0] = {.row = 2, .choice = &first, .n_logprobs = 1};
    jobs[1] = {.row = 1, .choice = &second, .n_logprobs = {}};
    jobs[2] = {.row = 0, .n_logprobs = 0, .token = 3};
    sampler.run(view, jobs);
    EXPECT_EQ(jobs[0].token, 0);
    EXPECT_EQ(jobs[0].logprobs->top.size(), 1u);
    EXPECT_EQ(jobs[1].token, 2);
    EXPECT_FALSE(jobs[1].logprobs);
    EXPECT_EQ(jobs[2].token, 3);
    EXPECT_FLOAT_EQ(jobs[2].logprobs->chosen.logprob,
                    static_cast<float>(-std::log(3 + std::exp(1.0))));
  }
}

}  // namespace
}  // namespace lockstep
