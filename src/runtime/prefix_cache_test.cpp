// Blocks found again, counted, and given up in order.
#include "runtime/prefix_cache.h"

#include <gtest/gtest.h>

namespace lockstep {
namespace {

class PrefixCacheTest : public ::testing::Test {
 protected:
  static constexpr int64_t kBlock = 4;

  static std::vector<int32_t> text(std::initializer_list<int32_t> blocks) {
    std::vector<int32_t> tokens;
    for (const int32_t block : blocks) {
      for (int32_t i = 0; i < kBlock; ++i) tokens.push_back(block * 10 + i);
    }
    return tokens;
  }
  // As a sequence that computes all of it: what it holds is given back at the end.
  void compute(PrefixCache& cache, const std::vector<int32_t>& tokens, std::string_view salt = "") {
    PrefixCache::Chain chain = cache.find(tokens, salt).chain;
    for (size_t i = chain.size() * kBlock; i + kBlock <= tokens.size(); i += kBlock) {
      const int32_t page = pages_.take();
      cache.extend(chain, std::span(tokens).subspan(i, kBlock), page, salt);
      pages_.drop(page);
    }
    cache.give_back(chain);
  }
  static size_t hit(PrefixCache& cache, const std::vector<int32_t>& tokens,
                    std::string_view salt = "") {
    PrefixCache::Hit found = cache.find(tokens, salt);
    const size_t n = found.chain.size();
    cache.give_back(found.chain);
    return n;
  }

  CountedIds pages_{8}, slots_{3};
};

TEST_F(PrefixCacheTest, FindsTheLongestBeginning) {
  PrefixCache cache({.block_size = kBlock}, pages_, slots_);
  compute(cache, text({1, 2, 3}));
  EXPECT_EQ(hit(cache, text({1, 2, 3, 4})), 3u);
  EXPECT_EQ(hit(cache, text({1, 2, 4})), 2u);
  EXPECT_EQ(hit(cache, text({2, 3})), 0u) << "a block counts after what it came after alone";
  std::vector<int32_t> part = text({1, 2});
  part.pop_back();
  EXPECT_EQ(hit(cache, part), 1u);
  EXPECT_EQ(hit(cache, text({1, 2, 3}), "salt"), 0u);
  compute(cache, text({1}), "salt");
  EXPECT_EQ(hit(cache, text({1, 2, 3}), "salt"), 1u);
  EXPECT_EQ(pages_.n_free(), 4);
  EXPECT_EQ(cache.n_evictable_pages(), 4);
}

TEST_F(PrefixCacheTest, EndsGoBeforeBeginningsAndOldBeforeNew) {
  PrefixCache cache({.block_size = kBlock}, pages_, slots_);
  compute(cache, text({1, 2, 3}));
  compute(cache, text({5, 6}));
  // Each look makes what it finds the newest.
  EXPECT_EQ(hit(cache, text({1, 2})), 2u);
  const std::pair<std::vector<int32_t>, size_t> left[] = {
      {text({1, 2, 3}), 2}, {text({5, 6}), 1}, {text({1, 2}), 1}, {text({5}), 0}, {text({1}), 0}};
  for (const auto& [tokens, n] : left) {
    EXPECT_TRUE(cache.evict_page());
    EXPECT_EQ(hit(cache, tokens), n);
  }
  EXPECT_FALSE(cache.evict_page());
  EXPECT_EQ(pages_.n_free(), 8);
}

TEST_F(PrefixCacheTest, WhatIsInUseStays) {
  PrefixCache cache({.block_size = kBlock}, pages_, slots_);
  compute(cache, text({1, 2, 3}));
  PrefixCache::Hit found = cache.find(text({1, 2}), "");
  EXPECT_EQ(cache.n_evictable_pages(), 1);
  EXPECT_TRUE(cache.evict_page());
  EXPECT_FALSE(cache.evict_page());
  EXPECT_EQ(hit(cache, text({1, 2, 3})), 2u);
  cache.give_back(found.chain);
  EXPECT_TRUE(cache.evict_page());
}

TEST_F(PrefixCacheTest, ABlockComputedTwiceIsKeptOnce) {
  PrefixCache cache({.block_size = kBlock}, pages_, slots_);
  PrefixCache::Chain first, second;
  const int32_t a = pages_.take(), b = pages_.take();
  cache.extend(first, text({1}), a, "");
  cache.extend(second, text({1}), b, "");
  EXPECT_EQ(first, second);
  EXPECT_EQ(pages_.holders(a), 2);
  EXPECT_EQ(pages_.holders(b), 1);
  pages_.drop(a);
  pages_.drop(b);
  cache.give_back(first);
  EXPECT_EQ(cache.n_evictable_pages(), 0) << "the second still uses it";
  cache.give_back(second);
  EXPECT_EQ(cache.n_evictable_pages(), 1);
  EXPECT_EQ(pages_.n_free(), 7);
}

TEST_F(PrefixCacheTest, AHitWithStatesEndsAtASnapshot) {
  PrefixCache cache({.block_size = kBlock, .has_states = true}, pages_, slots_);
  compute(cache, text({1, 2, 3}));
  PrefixCache::Hit known = cache.find(text({1, 2, 3}), "");
  EXPECT_EQ(known.chain.size(), 0u);
  EXPECT_EQ(known.n_known, 3);
  PrefixCache::Chain chain;
  for (const int32_t block : {1, 2}) cache.extend(chain, text({block}), -1, "");
  const int32_t slot = cache.add_snapshot(*chain.back());
  EXPECT_GE(slot, 0);
  EXPECT_EQ(cache.add_snapshot(*chain.back()), -1) << "it has one";
  cache.give_back(chain);
  PrefixCache::Hit found = cache.find(text({1, 2, 3}), "");
  EXPECT_EQ(found.chain.size(), 2u);
  EXPECT_EQ(found.snapshot, slot);
  EXPECT_EQ(found.n_known, 3);
  cache.give_back(found.chain);
  EXPECT_TRUE(cache.evict_snapshot());
  EXPECT_FALSE(cache.evict_snapshot());
  EXPECT_EQ(hit(cache, text({1, 2, 3})), 0u);
  EXPECT_EQ(slots_.n_free(), 3);
}

TEST_F(PrefixCacheTest, SnapshotsMakeRoomForNewerOnes) {
  PrefixCache cache({.block_size = kBlock, .has_pages = false, .has_states = true, .max_blocks = 4},
                    pages_, slots_);
  for (int32_t i = 0; i < 9; ++i) {
    PrefixCache::Chain chain;
    cache.extend(chain, text({i}), -1, "");
    EXPECT_GE(cache.add_snapshot(*chain.back()), 0);
    cache.give_back(chain);
  }
  EXPECT_EQ(cache.n_snapshots(), 3);
  for (int32_t i = 0; i < 9; ++i) EXPECT_EQ(hit(cache, text({i})), i >= 6) << i;
}

TEST_F(PrefixCacheTest, GivesAllBackAtItsEnd) {
  {
    PrefixCache cache({.block_size = kBlock, .has_states = true}, pages_, slots_);
    compute(cache, text({1, 2, 3}));
    PrefixCache::Chain chain;
    cache.extend(chain, text({1}), -1, "");
    cache.add_snapshot(*chain.back());
    cache.give_back(chain);
    EXPECT_EQ(pages_.n_free(), 5);
    EXPECT_EQ(slots_.n_free(), 2);
  }
  EXPECT_EQ(pages_.n_free(), 8);
  EXPECT_EQ(slots_.n_free(), 3);
}

}  // namespace
}  // namespace lockstep
