// Loops whose pieces cost unequal time: workers take the next one when they are done.
#pragma once

#include <atomic>

#include "base/thread_pool.h"

namespace lockstep {

/// Calls `body(task, worker)` for every task in [0, n_tasks). Who takes which depends on timing, so
/// a task's result must not depend on its worker.
template <class Body>
void parallel_tasks(ThreadPool& pool, int64_t n_tasks, const Body& body) noexcept {
  std::atomic<int64_t> next{0};
  const int64_t n_workers = n_tasks < pool.size() ? n_tasks : pool.size();
  pool.parallel_for(n_workers, 1, [&](int64_t, int64_t, int worker) {
    for (int64_t task; (task = next.fetch_add(1, std::memory_order_relaxed)) < n_tasks;) {
      body(task, worker);
    }
  });
}

}  // namespace lockstep
