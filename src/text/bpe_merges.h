// Byte-pair encoding proper: symbols in, merged symbols out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "text/pair_table.h"

namespace lockstep::text {

class BpeMerges {
 public:
  struct Rule {
    int32_t left, right, merged;
  };
  /// `rules` in the order of their ranks. `units` are the symbols that text can begin as.
  BpeMerges(const std::vector<Rule>& rules, const std::vector<int32_t>& units);

  /// What merging needs, kept between calls.
  struct Scratch {
    std::vector<uint32_t> ranks;
    std::vector<uint64_t> heap;
    std::vector<uint32_t> previous, next;
  };

  /// Merges `symbols` as long as two neighbours merge: the pair of the lowest rank first, of equal
  /// ones the leftmost. n log n in their number.
  void apply(std::vector<int32_t>& symbols, Scratch& scratch) const;

  /// False where no merge can ever join what ends in the unit `left` with what begins with the
  /// unit `right`, so that a text may be cut between them.
  bool may_join(int32_t left, int32_t right) const noexcept {
    const size_t bit = junction(left, right);
    return all_may_join_ || (junctions_[bit / 64] >> (bit % 64) & 1) != 0;
  }

 private:
  static constexpr size_t kJunctionBits = size_t{1} << 20;
  static size_t junction(int32_t left, int32_t right) noexcept {
    const uint64_t hash =
        (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right)) *
        0x9e3779b97f4a7c15u;
    return hash >> 44;
  }
  void find_junctions(const std::vector<Rule>& rules, const std::vector<int32_t>& units);
  void apply_few(std::vector<int32_t>& symbols, Scratch& scratch) const;
  void apply_many(std::vector<int32_t>& symbols, Scratch& scratch) const;

  PairTable table_;
  std::vector<uint64_t> junctions_;  // a set of pairs of units by hash; it may hold too many
  bool all_may_join_ = false;
};

}  // namespace lockstep::text
