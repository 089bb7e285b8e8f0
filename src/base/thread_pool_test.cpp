#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <tuple>
#include <vector>

namespace lockstep {
namespace {

using Range = std::tuple<int64_t, int64_t, int>;

std::set<Range> ranges(ThreadPool& pool, int64_t n, int64_t grain) {
  std::mutex mutex;
  std::set<Range> found;
  pool.parallel_for(n, grain, [&](int64_t begin, int64_t end, int worker) {
    const std::lock_guard lock(mutex);
    found.emplace(begin, end, worker);
  });
  return found;
}

TEST(ThreadPool, CoversEveryIndexOnceInRangesOfAtLeastTheGrain) {
  for (int threads : {1, 2, 3, 7}) {
    ThreadPool pool(threads);
    ASSERT_EQ(pool.size(), threads);
    for (int64_t n : {0, 1, 2, 5, 64, 1000}) {
      for (int64_t grain : {0, 1, 3, 64, 5000}) {
        int64_t expected_begin = 0;
        for (const auto& [begin, end, worker] : ranges(pool, n, grain)) {
          EXPECT_EQ(begin, expected_begin);
          EXPECT_LT(begin, end);
          EXPECT_GE(worker, 0);
          EXPECT_LT(worker, threads);
          EXPECT_TRUE(end == n || end - begin >= grain);
          expected_begin = end;
        }
        EXPECT_EQ(expected_begin, n);
      }
    }
  }
}

TEST(ThreadPool, PartitionDoesNotDependOnTiming) {
  ThreadPool pool(4);
  const std::set<Range> first = ranges(pool, 1001, 10);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(ranges(pool, 1001, 10), first);
}

TEST(ThreadPool, ZeroThreadsMeansTheAvailableCores) {
  ThreadPool pool;
  EXPECT_GE(pool.size(), 1);
}

TEST(ThreadPool, ManyShortLoopsWithPausesNeverHangOrLoseWork) {
  ThreadPool pool(3);
  std::atomic<int64_t> sum{0};
  int64_t expected = 0;
  for (int i = 0; i < 3000; ++i) {
    const int64_t n = i % 9;
    expected += n;
    pool.parallel_for(n, 1, [&](int64_t begin, int64_t end, int) { sum += end - begin; });
    // Longer than the spin, so that the workers fall asleep and are woken again.
    if (i % 500 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  EXPECT_EQ(sum.load(), expected);
}

TEST(ThreadPool, SeveralPoolsRunAtOnce) {
  std::vector<std::thread> callers;
  std::atomic<int64_t> sum{0};
  for (int c = 0; c < 3; ++c) {
    callers.emplace_back([&] {
      ThreadPool pool(2);
      for (int i = 0; i < 200; ++i) {
        pool.parallel_for(10, 1, [&](int64_t begin, int64_t end, int) { sum += end - begin; });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(sum.load(), 3 * 200 * 10);
}

TEST(ThreadPool, ScratchIsAlignedAndKept) {
  ThreadPool pool(2);
  void* first = pool.scratch(1, 1000);
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(first) % 64, 0u);
  EXPECT_EQ(pool.scratch(1, 10), first);
  EXPECT_NE(pool.scratch(0, 10), first);
  EXPECT_NE(pool.scratch(1, 1 << 20), nullptr);
  void* shared = pool.shared_scratch(1000);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(shared) % 64, 0u);
  EXPECT_EQ(pool.shared_scratch(10), shared);
  EXPECT_NE(pool.scratch(0, 10), shared);
}

}  // namespace
}  // namespace lockstep
