#include "parity/measure/channel_order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

namespace lockstep::parity::measure {
namespace {

using Order = std::vector<int64_t>;

TEST(ChannelOrder, RotaryStyles) {
  // Two heads of 6: 0 3 1 4 2 5, and back.
  EXPECT_EQ(order_name({0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11}, 6, 2, 2),
            "halves of each head as neighbours (half to interleaved)");
  EXPECT_EQ(order_name({0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11}, 6, 2, 2),
            "neighbours of each head as halves (interleaved to half)");
}

TEST(ChannelOrder, HeadsAndBlocks) {
  EXPECT_EQ(order_name({4, 5, 6, 7, 0, 1, 2, 3}, 4, 2, 2), "heads rolled by 1");
  EXPECT_EQ(order_name({6, 7, 4, 5, 2, 3, 0, 1}, 2, 4, 4), "heads in reverse");
  EXPECT_EQ(order_name({0, 4, 1, 5, 2, 6, 3, 7}, 0, 0, 0),
            "two halves interleaved channel by channel");
  // q0 q1 k0 k1 v0 v1, two channels a head.
  EXPECT_EQ(order_name({0, 1, 4, 5, 8, 9, 2, 3, 6, 7, 10, 11}, 2, 2, 2),
            "q, k, v a head, not q, k, v as blocks");
  EXPECT_EQ(order_name({0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11}, 2, 2, 2),
            "q, k, v as blocks, not a head");
}

TEST(ChannelOrder, WhatHasNoNameHasNone) {
  Order order(24);
  std::iota(order.begin(), order.end(), 0);
  EXPECT_EQ(order_name(order, 4, 6, 2), "");
  std::mt19937_64 random(3);
  std::shuffle(order.begin(), order.end(), random);
  EXPECT_EQ(order_name(order, 4, 6, 2), "");
  EXPECT_EQ(order_name({0, 0, 1, 2}, 2, 2, 2), "");
  EXPECT_EQ(order_name({-1, 1, 2, 3}, 2, 2, 2), "");
}

}  // namespace
}  // namespace lockstep::parity::measure
