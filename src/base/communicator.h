// What ranks of one process do together: each runs its part of a model on a thread of its own, and
// they meet where values are exchanged.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <vector>

namespace lockstep {

/// Shared by the ranks of a group. Every rank makes the same calls in the same order.
class RankGroup {
 public:
  explicit RankGroup(int n_ranks) : shown_(static_cast<size_t>(n_ranks)) {}

  int size() const noexcept { return static_cast<int>(shown_.size()); }

  /// Waits until all ranks are here; false when the group was stopped.
  bool meet() noexcept;
  /// A rank failed: whoever waits, or ever comes to wait, goes on at once with false.
  void stop() noexcept;
  /// Ready for another round. No rank may be inside.
  void reset() noexcept;

  /// What `rank` shows the others, from one meeting to the next.
  const void*& shown(int rank) noexcept { return shown_[static_cast<size_t>(rank)]; }

 private:
  std::mutex mutex_;
  std::condition_variable all_here_;
  int n_here_ = 0;
  uint64_t n_meetings_ = 0;
  bool stopped_ = false;
  std::vector<const void*> shown_;
};

/// One rank's end of its group.
struct Communicator {
  RankGroup& group;
  int rank;

  int size() const noexcept { return group.size(); }
};

}  // namespace lockstep
