#include "port/key_patterns.h"

#include <gtest/gtest.h>

namespace lockstep::port {
namespace {

using Lines = std::vector<std::string>;

TEST(KeyPatternsTest, LayersAndExpertsBecomeRanges) {
  Lines names;
  for (int layer = 0; layer < 3; ++layer) {
    for (int expert = 0; expert < 4; ++expert) {
      names.push_back("model.layers." + std::to_string(layer) + ".mlp.experts." +
                      std::to_string(expert) + ".w1.weight");
    }
  }
  names.push_back("lm_head.weight");
  EXPECT_EQ(
      pattern_lines(names, 8),
      (Lines{"model.layers.{0..2}.mlp.experts.{0..3}.w1.weight (12 tensors)", "lm_head.weight"}));
}

TEST(KeyPatternsTest, OneExpertOfOneLayerIsNamedAlone) {
  const Lines names = {"l.0.e.1.w", "l.0.e.2.w", "l.1.e.1.w",
                       "l.1.e.2.w", "l.2.e.2.w", "l.4.e.7.w"};
  EXPECT_EQ(pattern_lines(names, 8),
            (Lines{"l.{0,1}.e.{1,2}.w (4 tensors)", "l.2.e.2.w", "l.4.e.7.w"}));
}

TEST(KeyPatternsTest, PatternsStandForTheirNamesExactly) {
  // Every combination of three numbers in any subset comes out as often as it went in.
  for (unsigned subset = 1; subset < 256; ++subset) {
    Lines names;
    for (unsigned i = 0; i < 8; ++i) {
      if (subset >> i & 1) {
        names.push_back("a." + std::to_string(i & 1) + ".b." + std::to_string(i >> 1 & 1) + "." +
                        std::to_string(i >> 2));
      }
    }
    size_t n = 0;
    for (const KeyPattern& pattern : collapse_keys(names)) n += pattern.n;
    EXPECT_EQ(n, names.size()) << subset;
  }
}

TEST(KeyPatternsTest, LongListsAreCutAndCounted) {
  Lines names;
  for (char c = 'a'; c < 'k'; ++c) names.push_back(std::string(1, c) + ".0.w");
  names.push_back("k.0.w");
  names.push_back("k.1.w");
  const Lines lines = pattern_lines(names, 8);
  ASSERT_EQ(lines.size(), 9u);
  EXPECT_EQ(lines.back(), "... and 3 more (4 tensors)");
}

TEST(KeyPatternsTest, WhatIsNoNumberIsKept) {
  EXPECT_EQ(pattern_lines({"a.007.b", "a.99999999999999999999.b", "", "a..b", "5"}, 8),
            (Lines{"a.007.b", "a.99999999999999999999.b", "", "a..b", "5"}));
}

}  // namespace
}  // namespace lockstep::port
