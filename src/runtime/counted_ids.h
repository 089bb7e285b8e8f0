// Numbers handed out and counted: the pages of the caches, and the slots of the states. Each is
// free, or held by one or several (a sequence, others with the same beginning, the prefix cache).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace lockstep {

class CountedIds {
 public:
  /// Ids 0 to n - 1, all free.
  explicit CountedIds(int64_t n = 0);

  int64_t size() const noexcept { return static_cast<int64_t>(holders_.size()); }
  int64_t n_free() const noexcept { return static_cast<int64_t>(free_.size()); }
  int32_t holders(int32_t id) const noexcept { return holders_[static_cast<size_t>(id)]; }

  /// A free id, now held once: the one freed last, and before any was freed the lowest. There must
  /// be one.
  int32_t take();
  /// One holder more of an id that is held.
  void hold(int32_t id) noexcept { ++holders_[static_cast<size_t>(id)]; }
  /// One holder fewer; free with the last.
  void drop(int32_t id) noexcept;

 private:
  std::vector<int32_t> free_;  // room for all, so that drop() never allocates
  std::vector<int32_t> holders_;
};

}  // namespace lockstep
