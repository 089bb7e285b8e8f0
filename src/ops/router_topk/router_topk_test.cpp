#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "ops/op_test_util.h"

namespace lockstep {
namespace {

TEST(RouterTopk, SoftmaxOfTheChosenSumsToOne) {
  for (const char* order : {"scores_first", "topk_first"}) {
    OpRun r("router_topk", std::string("a float32[6,8]~normal .scoring=softmax .top_k=3 "
                                       ".normalise=1 .order=") +
                               order);
    r.run();
    for (int64_t t = 0; t < 6; ++t) {
      std::vector<int64_t> order_of(8);
      std::iota(order_of.begin(), order_of.end(), 0);
      std::sort(order_of.begin(), order_of.end(),
                [&](int64_t a, int64_t b) { return r.in(0, t * 8 + a) > r.in(0, t * 8 + b); });
      double total = 0;
      for (int64_t i = 0; i < 3; ++i) total += std::exp(r.in(0, t * 8 + order_of[i]));
      for (int64_t i = 0; i < 3; ++i) {
        EXPECT_EQ(r.out(t * 3 + i), static_cast<double>(order_of[i]));
        EXPECT_NEAR(r.out(t * 3 + i, 1), std::exp(r.in(0, t * 8 + order_of[i])) / total, 2e-7);
      }
    }
  }
}

TEST(RouterTopk, TheBiasChoosesButDoesNotWeigh) {
  OpRun r("router_topk",
          "a float32[1,4]~normal float32[4]~normal .scoring=sigmoid .top_k=2 .scaling=2.0");
  std::copy_n(std::begin({1.0f, 2.0f, 3.0f, 4.0f}), 4, r.inputs[0].data<float>());
  std::copy_n(std::begin({9.0f, 0.0f, 0.0f, 0.0f}), 4, r.inputs[1].data<float>());
  r.run();
  EXPECT_EQ(r.out(0), 0);
  EXPECT_EQ(r.out(1), 3);
  EXPECT_NEAR(r.out(0, 1), 2 / (1 + std::exp(-1.0)), 2e-7);
  EXPECT_NEAR(r.out(1, 1), 2 / (1 + std::exp(-4.0)), 3e-7);
}

TEST(RouterTopk, GroupsAreChosenByTheirTwoBest) {
  for (const char* kernel : {"ref", "cpu"}) {
    OpRun r("router_topk",
            "a float32[1,6]~normal .scoring=sigmoid .top_k=2 .n_group=2 .topk_group=1", kernel);
    // The greatest expert stands in the group with the lesser sum.
    std::copy_n(std::begin({3.0f, -9.0f, -9.0f, 1.0f, 0.5f, 2.0f}), 6, r.inputs[0].data<float>());
    r.run();
    EXPECT_EQ(r.out(0), 5);
    EXPECT_EQ(r.out(1), 3);
  }
}

TEST(RouterTopk, GroupsAreChosenByTheirBestWhereAskedTo) {
  for (const char* kernel : {"ref", "cpu"}) {
    OpRun r("router_topk",
            "a float32[1,6]~normal .scoring=softmax .top_k=2 .n_group=2 .topk_group=1 "
            ".group_score=best",
            kernel);
    std::copy_n(std::begin({3.0f, -9.0f, -8.0f, 1.0f, 0.5f, 2.0f}), 6, r.inputs[0].data<float>());
    r.run();
    EXPECT_EQ(r.out(0), 0);
    EXPECT_EQ(r.out(1), 2);
  }
}

TEST(RouterTopk, TiesGoToTheLowerIdAndNanComesFirst) {
  for (const char* kernel : {"ref", "cpu"}) {
    OpRun r("router_topk", "a float32[1,5]~uniform:1:1 .scoring=sigmoid .top_k=3", kernel);
    r.inputs[0].data<float>()[3] = std::numeric_limits<float>::quiet_NaN();
    r.run();
    EXPECT_EQ(r.out(0), 3);
    EXPECT_EQ(r.out(1), 0);
    EXPECT_EQ(r.out(2), 1);
  }
}

TEST(RouterTopk, ImpossibleSettingsAreRefused) {
  const auto error = [](const std::string& attrs) {
    return OpRun("router_topk", "a float32[2,8]~normal " + attrs).error();
  };
  EXPECT_EQ(error(".scoring=softmax .top_k=9"), "[router_topk] top_k: expected 1 to 8, found 9");
  EXPECT_EQ(error(".scoring=sigmoid .top_k=5 .n_group=2 .topk_group=1"),
            "[router_topk] top_k: expected 1 to 4, found 5");
  EXPECT_EQ(error(".scoring=sigmoid .top_k=2 .n_group=3 .topk_group=1"),
            "[router_topk] n_group: expected a divisor of 8 experts, found 3");
  EXPECT_EQ(error(".scoring=sigmoid .top_k=2 .n_group=8 .topk_group=2"),
            "[router_topk] n_group: expected groups of two experts or more, found 8");
  EXPECT_EQ(error(".scoring=sigmoid .order=topk_first .top_k=2"),
            "[router_topk] order: expected scores_first with sigmoid, bias or groups, found "
            "topk_first");
  EXPECT_EQ(error(".scoring=relu .top_k=2"),
            "[router_topk] scoring: expected softmax or sigmoid, found relu");
}

}  // namespace
}  // namespace lockstep
