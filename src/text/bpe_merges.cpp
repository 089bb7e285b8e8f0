#include "text/bpe_merges.h"

#include <algorithm>
#include <functional>
#include <limits>

namespace lockstep::text {
namespace {

constexpr uint32_t kNoRank = std::numeric_limits<uint32_t>::max();
constexpr uint32_t kNoPlace = std::numeric_limits<uint32_t>::max();
constexpr int32_t kGone = -1;
constexpr size_t kFew = 48;  // symbols; beyond, a heap is faster than looking through all ranks

}  // namespace

BpeMerges::BpeMerges(const std::vector<Rule>& rules, const std::vector<int32_t>& units)
    : table_(rules.size()), junctions_(kJunctionBits / 64) {
  for (size_t rank = 0; rank < rules.size(); ++rank) {
    const Rule& rule = rules[rank];
    table_.set(rule.left, rule.right, {static_cast<uint32_t>(rank), rule.merged});
  }
  find_junctions(rules, units);
}

// A merged symbol begins and ends with a unit. A rule whose parts nothing makes never applies.
void BpeMerges::find_junctions(const std::vector<Rule>& rules, const std::vector<int32_t>& units) {
  int32_t highest = 0;
  for (const int32_t unit : units) highest = std::max(highest, unit);
  for (const Rule& rule : rules) {
    highest = std::max({highest, rule.left, rule.right, rule.merged});
  }
  const size_t n = static_cast<size_t>(highest) + 1;
  std::vector<int32_t> firsts(n, kGone);
  std::vector<int32_t> lasts(n, kGone);
  for (const int32_t unit : units) {
    firsts[static_cast<size_t>(unit)] = lasts[static_cast<size_t>(unit)] = unit;
  }
  bool changed = true;
  for (int pass = 0; changed; ++pass) {
    if (pass == 8) {
      all_may_join_ = true;  // rules in a strange order
      return;
    }
    changed = false;
    for (const Rule& rule : rules) {
      const int32_t first = firsts[static_cast<size_t>(rule.left)];
      const int32_t last = lasts[static_cast<size_t>(rule.right)];
      if (first == kGone || last == kGone) continue;
      int32_t& merged_first = firsts[static_cast<size_t>(rule.merged)];
      int32_t& merged_last = lasts[static_cast<size_t>(rule.merged)];
      if (merged_first == kGone) {
        merged_first = first;
        merged_last = last;
        changed = true;
      } else if (merged_first != first || merged_last != last) {
        all_may_join_ = true;  // one symbol, made of different units
        return;
      }
    }
  }
  for (const Rule& rule : rules) {
    const int32_t left = lasts[static_cast<size_t>(rule.left)];
    const int32_t right = firsts[static_cast<size_t>(rule.right)];
    if (left == kGone || right == kGone) continue;
    const size_t bit = junction(left, right);
    junctions_[bit / 64] |= uint64_t{1} << (bit % 64);
  }
}

void BpeMerges::apply(std::vector<int32_t>& symbols, Scratch& scratch) const {
  if (symbols.size() < 2) return;
  if (symbols.size() <= kFew) {
    apply_few(symbols, scratch);
  } else {
    apply_many(symbols, scratch);
  }
}

void BpeMerges::apply_few(std::vector<int32_t>& symbols, Scratch& scratch) const {
  size_t n = symbols.size();
  std::vector<uint32_t>& ranks = scratch.ranks;  // of the pair that begins at i
  ranks.resize(n);
  const auto rank_at = [&](size_t i) {
    const Merge* merge = i + 1 < n ? table_.find(symbols[i], symbols[i + 1]) : nullptr;
    return merge == nullptr ? kNoRank : merge->rank;
  };
  for (size_t i = 0; i < n; ++i) ranks[i] = rank_at(i);
  while (true) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < n; ++i) {
      if (ranks[i] < ranks[best]) best = i;
    }
    if (ranks[best] == kNoRank) break;
    symbols[best] = table_.find(symbols[best], symbols[best + 1])->id;
    --n;
    std::copy(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 2,
              symbols.begin() + static_cast<std::ptrdiff_t>(n) + 1,
              symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    std::copy(ranks.begin() + static_cast<std::ptrdiff_t>(best) + 2,
              ranks.begin() + static_cast<std::ptrdiff_t>(n) + 1,
              ranks.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    ranks[best] = rank_at(best);
    if (best > 0) ranks[best - 1] = rank_at(best - 1);
    if (n == 1) break;
  }
  symbols.resize(n);
}

// A linked list of symbols and a heap of (rank, place of the left one). An entry that a merge
// beside it has made untrue is skipped when it comes up.
void BpeMerges::apply_many(std::vector<int32_t>& symbols, Scratch& scratch) const {
  const auto n = static_cast<uint32_t>(symbols.size());
  std::vector<uint64_t>& heap = scratch.heap;
  std::vector<uint32_t>& previous = scratch.previous;
  std::vector<uint32_t>& next = scratch.next;
  heap.clear();
  previous.resize(n);
  next.resize(n);
  const auto entry = [](uint32_t rank, uint32_t place) {
    return static_cast<uint64_t>(rank) << 32 | place;
  };
  for (uint32_t i = 0; i < n; ++i) {
    previous[i] = i == 0 ? kNoPlace : i - 1;
    next[i] = i + 1 == n ? kNoPlace : i + 1;
    if (i + 1 == n) break;
    if (const Merge* merge = table_.find(symbols[i], symbols[i + 1])) {
      heap.push_back(entry(merge->rank, i));
    }
  }
  std::make_heap(heap.begin(), heap.end(), std::greater<>());
  const auto push = [&](uint32_t left, uint32_t right) {
    const Merge* merge = table_.find(symbols[left], symbols[right]);
    if (merge == nullptr) return;
    heap.push_back(entry(merge->rank, left));
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
  };
  while (!heap.empty()) {
    const auto rank = static_cast<uint32_t>(heap.front() >> 32);
    const auto left = static_cast<uint32_t>(heap.front());
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    heap.pop_back();
    if (symbols[left] == kGone || next[left] == kNoPlace) continue;
    const uint32_t right = next[left];
    const Merge* merge = table_.find(symbols[left], symbols[right]);
    if (merge == nullptr || merge->rank != rank) continue;
    symbols[left] = merge->id;
    symbols[right] = kGone;
    next[left] = next[right];
    if (next[left] != kNoPlace) previous[next[left]] = left;
    if (previous[left] != kNoPlace) push(previous[left], left);
    if (next[left] != kNoPlace) push(left, next[left]);
  }
  std::erase(symbols, kGone);
}

}  // namespace lockstep::text
