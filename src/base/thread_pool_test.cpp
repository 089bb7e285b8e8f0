#include "base/thread_pool.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
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

TEST(ThreadPool, RangesDoNotDependOnTiming) {
  const auto without_workers = [](const std::set<Range>& ranges) {
    std::set<std::pair<int64_t, int64_t>> out;
    for (const auto& [begin, end, worker] : ranges) out.emplace(begin, end);
    return out;
  };
  ThreadPool pool(4);
  const auto first = without_workers(ranges(pool, 1001, 10));
  EXPECT_GT(first.size(), 4u);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(without_workers(ranges(pool, 1001, 10)), first);
}

/// Waits until `condition` holds; false after ten seconds.
template <class Condition>
bool wait_for(const Condition& condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

TEST(ThreadPool, TheOthersDoTheShareOfAWorkerHeldUpInARange) {
  constexpr int64_t kN = 12;
  ThreadPool pool(3);
  std::atomic<bool> is_held_up{false};
  std::atomic<int64_t> n_done{0};
  std::atomic<bool> others_did_the_rest{false};
  pool.parallel_for(kN, 1, [&](int64_t begin, int64_t end, int worker) {
    if (worker == 1 && !is_held_up.exchange(true)) {
      others_did_the_rest = wait_for([&] { return n_done.load() == kN - 1; });
    } else {
      wait_for([&] { return is_held_up.load(); });
    }
    n_done += end - begin;
  });
  EXPECT_TRUE(others_did_the_rest.load());
  EXPECT_EQ(n_done.load(), kN);
}

/// A thread that does nothing until released, as one that has no core.
class StoppedThread {
 public:
  explicit StoppedThread(pthread_t thread) {
    struct sigaction action = {};
    action.sa_handler = [](int) {
      is_stopped_ = true;
      while (!is_released_) usleep(1000);
      is_stopped_ = false;
    };
    sigaction(SIGUSR1, &action, &before_);
    is_released_ = false;
    pthread_kill(thread, SIGUSR1);
    EXPECT_TRUE(wait_for([] { return is_stopped_.load(); }));
  }
  StoppedThread(const StoppedThread&) = delete;
  StoppedThread& operator=(const StoppedThread&) = delete;
  ~StoppedThread() {
    release();
    EXPECT_TRUE(wait_for([] { return !is_stopped_.load(); }));
    sigaction(SIGUSR1, &before_, nullptr);
  }
  static void release() { is_released_ = true; }

 private:
  inline static std::atomic<bool> is_stopped_, is_released_;
  struct sigaction before_ = {};
};

TEST(ThreadPool, AWorkerThatDoesNotRunIsNotWaitedFor) {
  ThreadPool pool(2);
  std::atomic<bool> is_known{false};
  pthread_t worker_thread{};
  pool.parallel_for(8, 1, [&](int64_t, int64_t, int worker) {
    if (worker == 1 && !is_known) {
      worker_thread = pthread_self();
      is_known = true;
    } else {
      wait_for([&] { return is_known.load(); });
    }
  });
  ASSERT_TRUE(is_known.load());

  int64_t n_done = 0;
  std::atomic<bool> is_over{false};
  bool was_waited_for = false;
  {
    const StoppedThread stopped(worker_thread);
    std::thread guard([&] {
      was_waited_for = !wait_for([&] { return is_over.load(); });
      StoppedThread::release();
    });
    for (int i = 0; i < 100; ++i) {
      pool.parallel_for(64, 1, [&](int64_t begin, int64_t end, int) { n_done += end - begin; });
    }
    is_over = true;
    guard.join();
  }
  EXPECT_FALSE(was_waited_for);
  EXPECT_EQ(n_done, 6400);

  // The worker that was away takes nothing of what is over, and part in what comes.
  std::atomic<bool> takes_part{false};
  pool.parallel_for(8, 1, [&](int64_t, int64_t, int worker) {
    if (worker == 1) takes_part = true;
    wait_for([&] { return takes_part.load(); });
  });
  EXPECT_TRUE(takes_part.load());
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
