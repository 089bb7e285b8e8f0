// A trie over bytes for finding every string of a set that begins at a place in a text.
// Nodes lie in breadth-first order, so the children of one are neighbours, sorted by label:
//
//   node     0      1   2      3   4   5
//   label    -      a   b      b   c   a        for "ab", "ac" and "ba"
//   first    1      3   5      6   6   6  6     children of n: [first[n], first[n + 1])
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace lockstep::text {

class ByteTrie {
 public:
  static constexpr uint32_t kNone = 0xffffffffu;

  struct Entry {
    std::string_view key;  // empty ones are left out
    uint32_t value;        // the last of equal keys counts
  };
  static ByteTrie build(std::vector<Entry> entries);

  bool empty() const noexcept { return labels_.size() <= 1; }
  /// Whether a string of the set begins with `byte`.
  bool begins_with(char byte) const noexcept {
    return roots_[static_cast<unsigned char>(byte)] != kNone;
  }

  /// Calls `visit(length, value)` for every string of the set that `text` begins with, shortest
  /// first.
  template <class Visit>
  void for_each_prefix(std::string_view text, Visit&& visit) const {
    if (text.empty()) return;
    uint32_t node = roots_[static_cast<unsigned char>(text[0])];
    for (size_t length = 1; node != kNone; ++length) {
      if (values_[node] != kNone) visit(length, values_[node]);
      if (length == text.size()) return;
      node = child(node, static_cast<uint8_t>(text[length]));
    }
  }

 private:
  uint32_t child(uint32_t node, uint8_t label) const noexcept {
    uint32_t low = firsts_[node];
    uint32_t high = firsts_[node + 1];
    while (low < high) {
      const uint32_t middle = (low + high) / 2;
      if (labels_[middle] == label) return middle;
      if (labels_[middle] < label) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return kNone;
  }

  std::vector<uint8_t> labels_;   // [nodes]
  std::vector<uint32_t> firsts_;  // [nodes + 1]
  std::vector<uint32_t> values_;  // [nodes], kNone where no string ends
  std::array<uint32_t, 256> roots_{};
};

}  // namespace lockstep::text
