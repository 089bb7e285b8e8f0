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

struct ThreadPool::Impl {
  // One line each, so that a worker's wait does not disturb the others.
  struct alignas(kCacheLine) Worker {
    std::atomic<int> ticket{0};  // bumped by the caller: one job; kStop: leave
    void* scratch = nullptr;
    size_t scratch_bytes = 0;
    std::thread thread;
  };
  static constexpr int kStop = -1;

  explicit Impl(int n_threads) : workers(static_cast<size_t>(n_threads)) {}

  std::vector<Worker> workers;  // [0] is the caller and has no thread
  alignas(kCacheLine) std::atomic<int> pending{0};
  RangeFn fn = nullptr;
  void* context = nullptr;
  int64_t n = 0, chunk = 0;
  void* shared = nullptr;
  size_t shared_bytes = 0;

  void run_chunk(int worker) const noexcept {
    const int64_t begin = worker * chunk;
    fn(context, begin, std::min(n, begin + chunk), worker);
  }

  void work(int worker) noexcept {
    std::atomic<int>& ticket = workers[static_cast<size_t>(worker)].ticket;
    int seen = 0;
    for (;;) {
      seen = wait_while_equal(ticket, seen);
      if (seen == kStop) return;
      run_chunk(worker);
      if (pending.fetch_sub(1, std::memory_order_acq_rel) == 1) pending.notify_one();
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
  Impl& impl = *impl_;
  const int64_t chunk = std::max({(n + size() - 1) / size(), grain, int64_t{1}});
  const int n_chunks = static_cast<int>((n + chunk - 1) / chunk);
  if (n_chunks == 1) return fn(context, 0, n, 0);

  impl.fn = fn;
  impl.context = context;
  impl.n = n;
  impl.chunk = chunk;
  impl.pending.store(n_chunks - 1, std::memory_order_relaxed);
  // Only the workers that have a chunk are woken, so none can read the next job's fields late.
  for (int i = 1; i < n_chunks; ++i) {
    std::atomic<int>& ticket = impl.workers[static_cast<size_t>(i)].ticket;
    ticket.store((ticket.load(std::memory_order_relaxed) + 1) & 0x3fffffff,
                 std::memory_order_release);
    ticket.notify_one();
  }
  impl.run_chunk(0);
  for (int left = impl.pending.load(std::memory_order_acquire); left != 0;) {
    left = wait_while_equal(impl.pending, left);
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
