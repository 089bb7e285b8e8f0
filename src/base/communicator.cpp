#include "base/communicator.h"

namespace lockstep {

bool RankGroup::meet() noexcept {
  std::unique_lock lock(mutex_);
  if (stopped_) return false;
  const uint64_t meeting = n_meetings_;
  if (++n_here_ == size()) {
    n_here_ = 0;
    ++n_meetings_;
    all_here_.notify_all();
    return true;
  }
  all_here_.wait(lock, [&] { return stopped_ || n_meetings_ != meeting; });
  return !stopped_;
}

void RankGroup::stop() noexcept {
  const std::lock_guard lock(mutex_);
  stopped_ = true;
  all_here_.notify_all();
}

void RankGroup::reset() noexcept {
  const std::lock_guard lock(mutex_);
  stopped_ = false;
  n_here_ = 0;
}

}  // namespace lockstep
