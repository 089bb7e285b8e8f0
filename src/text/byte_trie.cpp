#include "text/byte_trie.h"

#include <algorithm>

namespace lockstep::text {

ByteTrie ByteTrie::build(std::vector<Entry> entries) {
  std::erase_if(entries, [](const Entry& entry) { return entry.key.empty(); });
  std::stable_sort(entries.begin(), entries.end(),
                   [](const Entry& a, const Entry& b) { return a.key < b.key; });
  struct Range {  // the entries that share a node's path, and how long that is
    size_t begin, end, depth;
  };
  ByteTrie trie;
  std::vector<Range> ranges{{0, entries.size(), 0}};
  trie.labels_.push_back(0);
  for (size_t node = 0; node < ranges.size(); ++node) {
    auto [begin, end, depth] = ranges[node];
    uint32_t value = kNone;
    for (; begin < end && entries[begin].key.size() == depth; ++begin) {
      value = entries[begin].value;
    }
    trie.values_.push_back(value);
    trie.firsts_.push_back(static_cast<uint32_t>(ranges.size()));
    while (begin < end) {
      const char label = entries[begin].key[depth];
      size_t last = begin + 1;
      while (last < end && entries[last].key[depth] == label) ++last;
      ranges.push_back({begin, last, depth + 1});
      trie.labels_.push_back(static_cast<uint8_t>(label));
      begin = last;
    }
  }
  trie.firsts_.push_back(static_cast<uint32_t>(ranges.size()));
  for (int byte = 0; byte < 256; ++byte) {
    trie.roots_[static_cast<size_t>(byte)] = trie.child(0, static_cast<uint8_t>(byte));
  }
  return trie;
}

}  // namespace lockstep::text
