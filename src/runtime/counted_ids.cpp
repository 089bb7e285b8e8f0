#include "runtime/counted_ids.h"

#include <numeric>

namespace lockstep {

CountedIds::CountedIds(int64_t n)
    : free_(static_cast<size_t>(n)), holders_(static_cast<size_t>(n)) {
  // Taken from the back: low numbers first.
  std::iota(free_.rbegin(), free_.rend(), 0);
}

int32_t CountedIds::take() {
  const int32_t id = free_.back();
  free_.pop_back();
  holders_[static_cast<size_t>(id)] = 1;
  return id;
}

void CountedIds::drop(int32_t id) noexcept {
  if (--holders_[static_cast<size_t>(id)] == 0) free_.push_back(id);
}

}  // namespace lockstep
