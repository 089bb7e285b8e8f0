// A fixed set of worker threads for data-parallel loops inside kernels.
// The calling thread takes part; workers spin briefly between loops, then sleep.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

namespace lockstep {

class ThreadPool {
 public:
  /// `n_threads` counts the caller; 0 means one per available core.
  explicit ThreadPool(int n_threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const noexcept;

  /// Calls `body(begin, end, worker)` on disjoint ranges that cover [0, n), `grain` long or more
  /// but for the last. Ranges depend on n, grain and size(); who takes which, and how many, on
  /// timing. worker is in [0, size()). `body` must not throw. Returns when all are done; not
  /// re-entrant.
  template <class Body>
  void parallel_for(int64_t n, int64_t grain, Body&& body) noexcept {
    using Plain = std::remove_reference_t<Body>;
    run(
        n, grain,
        [](void* context, int64_t begin, int64_t end, int worker) {
          (*static_cast<Plain*>(context))(begin, end, worker);
        },
        const_cast<std::remove_const_t<Plain>*>(&body));
  }

  /// At least `bytes` of 64-byte aligned scratch owned by `worker`, valid until its next call.
  /// Grows on first use and is kept, so that steady-state kernels allocate nothing.
  void* scratch(int worker, size_t bytes) noexcept;
  /// As scratch(), for what all workers of a kernel share: owned by the caller of the loops.
  void* shared_scratch(size_t bytes) noexcept;

 private:
  using RangeFn = void (*)(void* context, int64_t begin, int64_t end, int worker);
  void run(int64_t n, int64_t grain, RangeFn fn, void* context) noexcept;

  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep
