// Tasks shared out among threads, each of which has its own connections.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>

#include "hub/http.h"

namespace lockstep {

/// Calls `task(session, i)` for every i in [0, n), on at most `n_threads` threads. When one throws,
/// `stop` is set, the others end, and the first error is thrown on. `on_tick` runs on the calling
/// thread some ten times a second, and once at the end.
void run_workers(const HubSettings& settings, size_t n, int n_threads, std::atomic<bool>& stop,
                 const std::function<void(HttpSession&, size_t)>& task,
                 const std::function<void()>& on_tick);

}  // namespace lockstep
