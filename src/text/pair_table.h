// Merges of byte-pair encoding: (left id, right id) -> (rank, id of both), flat.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace lockstep::text {

struct Merge {
  uint32_t rank;  // lower ones are merged first
  int32_t id;
};

class PairTable {
 public:
  /// For at most `n_pairs`.
  explicit PairTable(size_t n_pairs = 0) : slots_(std::bit_ceil(2 * n_pairs + 2)) {}

  /// A later merge of the same pair replaces the earlier.
  void set(int32_t left, int32_t right, Merge merge) {
    const uint64_t key = key_of(left, right);
    size_t i = slot_of(key);
    while (slots_[i].key != kFree && slots_[i].key != key) i = (i + 1) & (slots_.size() - 1);
    slots_[i] = {key, merge};
  }
  /// nullptr when they do not merge.
  const Merge* find(int32_t left, int32_t right) const noexcept {
    const uint64_t key = key_of(left, right);
    for (size_t i = slot_of(key);; i = (i + 1) & (slots_.size() - 1)) {
      if (slots_[i].key == key) return &slots_[i].merge;
      if (slots_[i].key == kFree) return nullptr;
    }
  }

 private:
  static constexpr uint64_t kFree = ~uint64_t{0};  // ids are not negative
  struct Slot {
    uint64_t key = kFree;
    Merge merge{};
  };
  static uint64_t key_of(int32_t left, int32_t right) noexcept {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  size_t slot_of(uint64_t key) const noexcept {
    const uint64_t hash = key * 0x9e3779b97f4a7c15u;
    return (hash ^ hash >> 32) & (slots_.size() - 1);
  }

  std::vector<Slot> slots_;  // a power of two, at most half full
};

}  // namespace lockstep::text
