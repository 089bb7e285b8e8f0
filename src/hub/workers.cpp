// Tasks shared out among threads.
#include "hub/workers.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace lockstep {

void run_workers(const HubSettings& settings, size_t n, int n_threads, std::atomic<bool>& stop,
                 const std::function<void(HttpSession&, size_t)>& task,
                 const std::function<void()>& on_tick) {
  constexpr std::chrono::milliseconds kTick{100};
  const size_t n_workers = std::min<size_t>(n, static_cast<size_t>(std::max(n_threads, 1)));
  std::mutex mutex;
  std::condition_variable ended;
  size_t n_running = n_workers;
  std::exception_ptr first;
  std::atomic<size_t> next{0};
  const auto work = [&] {
    try {
      HttpSession session(settings, stop);
      for (size_t i; !stop && (i = next.fetch_add(1)) < n;) task(session, i);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (first == nullptr) first = std::current_exception();
      stop = true;
    }
    const std::lock_guard lock(mutex);
    --n_running;
    ended.notify_one();
  };
  {
    std::vector<std::jthread> threads;
    for (size_t i = 0; i < n_workers; ++i) threads.emplace_back(work);
    std::unique_lock lock(mutex);
    while (n_running > 0) {
      ended.wait_for(lock, kTick, [&] { return n_running == 0; });
      lock.unlock();
      on_tick();
      lock.lock();
    }
  }
  if (first != nullptr) std::rethrow_exception(first);
}

}  // namespace lockstep
