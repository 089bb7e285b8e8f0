#include "base/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <new>
#include <thread>
#include <vector>

namespace lockstep {
namespace {

// Long enough to bridge the gap between two kernels of one step, short enough not to starve a
// neighbour on a shared machine.
constexpr std::chrono::microseconds kSpin{40};
constexpr size_t kCacheLine = 64;

void pause_cpu() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// Waits until `value` is no longer `old`; returns what it became.
int wait_while_equal(const std::atomic<int>& value, int old) noexcept {
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 64; ++i) {
      const int now = value.load(std::memory_order_acquire);
      if (now != old) return now;
      pause_cpu();
    }
  } while (std::chrono::steady_clock::now() < end);
  value.wait(old, std::memory_order_acquire);
  return value.load(std::memory_order_acquire);
}

void* grow(void*& buffer, size_t& size, size_t bytes) noexcept {
  if (size < bytes) {
    std::free(buffer);
    size = (bytes + kCacheLine - 1) / kCacheLine * kCacheLine;
    buffer = std::aligned_alloc(kCacheLine, size);
    if (buffer == nullptr) size = 0;
  }
  return buffer;
}

int available_cores() noexcept {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace

// A loop is cut into chunks, and whoever is free takes the next: a worker that gets no core, or
// gets it late, is not waited for unless it has begun a chunk.
struct ThreadPool::Impl {
  // One line each, so that a worker's wait does not disturb the others.
  struct alignas(kCacheLine) Worker {
    std::atomic<int> ticket{0};  // bumped by the caller: a loop began; kStop: leave
    void* scratch = nullptr;
    size_t scratch_bytes = 0;
    std::thread thread;
  };
  static constexpr int kStop = -1;
  // Enough that the last one is short, few enough that what a body does once a range costs little.
  static constexpr int64_t kChunksPerWorker = 4;

  explicit Impl(int n_threads) : workers(static_cast<size_t>(n_threads)) {}

  std::vector<Worker> workers;  // [0] is the caller and has no thread
  // The loop's number in the high half, chunks that nobody has taken in the low half. In one word,
  // so that who wakes late takes nothing of a later loop by what it knew of an earlier one.
  alignas(kCacheLine) std::atomic<uint64_t> untaken{0};
  alignas(kCacheLine) std::atomic<int> unfinished{0};  // chunks
  // The loop: written while no chunk is left, read by who has taken one.
  RangeFn fn = nullptr;
  void* context = nullptr;
  int64_t n = 0, chunk = 0;
  uint32_t n_chunks = 0;
  void* shared = nullptr;
  size_t shared_bytes = 0;

  void begin_loop(int chunks) noexcept {
    n_chunks = static_cast<uint32_t>(chunks);
    unfinished.store(chunks, std::memory_order_relaxed);
    const uint64_t loop = (untaken.load(std::memory_order_relaxed) >> 32) + 1;
    untaken.store(loop << 32 | n_chunks, std::memory_order_release);
  }

  /// Chunks of the loop under way, one after the other, until all are taken.
  void run_chunks(int worker) noexcept {
    uint64_t seen = untaken.load(std::memory_order_acquire);
    while (static_cast<uint32_t>(seen) != 0) {
      if (!untaken.compare_exchange_weak(seen, seen - 1, std::memory_order_acquire)) continue;
      const int64_t begin = (n_chunks - static_cast<uint32_t>(seen)) * chunk;
      fn(context, begin, std::min(n, begin + chunk), worker);
      if (unfinished.fetch_sub(1, std::memory_order_acq_rel) == 1 && worker != 0) {
        unfinished.notify_one();
      }
      seen = untaken.load(std::memory_order_acquire);
    }
  }

  void work(int worker) noexcept {
    std::atomic<int>& ticket = workers[static_cast<size_t>(worker)].ticket;
    int seen = 0;
    for (;;) {
      seen = wait_while_equal(ticket, seen);
      if (seen == kStop) return;
      run_chunks(worker);
    }
  }

  void stop() noexcept {
    for (Worker& worker : workers) {
      if (!worker.thread.joinable()) continue;
      worker.ticket.store(kStop, std::memory_order_release);
      worker.ticket.notify_one();
      worker.thread.join();
    }
  }
};

ThreadPool::ThreadPool(int n_threads) {
  if (n_threads <= 0) n_threads = available_cores();
  impl_ = std::make_unique<Impl>(n_threads);
  try {
    for (int i = 1; i < n_threads; ++i) {
      impl_->workers[static_cast<size_t>(i)].thread =
          std::thread([impl = impl_.get(), i] { impl->work(i); });
    }
  } catch (...) {
    impl_->stop();
    throw;
  }
}

ThreadPool::~ThreadPool() {
  impl_->stop();
  for (Impl::Worker& worker : impl_->workers) std::free(worker.scratch);
  std::free(impl_->shared);
}

int ThreadPool::size() const noexcept { return static_cast<int>(impl_->workers.size()); }

void ThreadPool::run(int64_t n, int64_t grain, RangeFn fn, void* context) noexcept {
  if (n <= 0) return;
  if (size() == 1) return fn(context, 0, n, 0);
  Impl& impl = *impl_;
  const int64_t most = size() * Impl::kChunksPerWorker;
  const int64_t chunk = std::max({(n + most - 1) / most, grain, int64_t{1}});
  const int n_chunks = static_cast<int>((n + chunk - 1) / chunk);
  if (n_chunks == 1) return fn(context, 0, n, 0);

  impl.fn = fn;
  impl.context = context;
  impl.n = n;
  impl.chunk = chunk;
  impl.begin_loop(n_chunks);
  for (int i = 1; i < std::min(n_chunks, size()); ++i) {
    std::atomic<int>& ticket = impl.workers[static_cast<size_t>(i)].ticket;
    ticket.store((ticket.load(std::memory_order_relaxed) + 1) & 0x3fffffff,
                 std::memory_order_release);
    ticket.notify_one();
  }
  impl.run_chunks(0);
  for (int left = impl.unfinished.load(std::memory_order_acquire); left != 0;) {
    left = wait_while_equal(impl.unfinished, left);
  }
}

void* ThreadPool::scratch(int worker, size_t bytes) noexcept {
  Impl::Worker& mine = impl_->workers[static_cast<size_t>(worker)];
  return grow(mine.scratch, mine.scratch_bytes, bytes);
}

void* ThreadPool::shared_scratch(size_t bytes) noexcept {
  return grow(impl_->shared, impl_->shared_bytes, bytes);
}

}  // namespace lockstep
