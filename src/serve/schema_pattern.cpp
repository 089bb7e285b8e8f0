// Thompson's construction, and then the sets of places that a text can be at.
#include "serve/schema_pattern.h"

#include <algorithm>
#include <map>

#include "serve/regex_tree.h"

namespace lockstep::serve {
namespace {

struct Place {
  enum class Kind : uint8_t { kSet, kSplit, kStart, kEnd, kAccept };
  Kind kind = Kind::kSplit;
  const CharSet* set = nullptr;
  uint32_t next = kNone, other = kNone;  // `other` of kSplit alone
  static constexpr uint32_t kNone = UINT32_MAX;
};

// Places are made from the end to the beginning: each is made with what follows it.
class Places {
 public:
  Places(const RegexTree& tree, CompileBudget& budget) : tree_(tree), budget_(budget) {}

  uint32_t add(Place place) {
    budget_.take_states(1);
    all.push_back(place);
    return static_cast<uint32_t>(all.size() - 1);
  }

  uint32_t build(uint32_t id, uint32_t next) {
    const RegexNode& node = tree_.nodes[id];
    budget_.take_steps(1);
    switch (node.kind) {
      case RegexNode::Kind::kSet:
        return add({Place::Kind::kSet, &node.set, next});
      case RegexNode::Kind::kStart:
        return add({Place::Kind::kStart, nullptr, next});
      case RegexNode::Kind::kEnd:
        return add({Place::Kind::kEnd, nullptr, next});
      case RegexNode::Kind::kSequence:
        for (size_t i = node.children.size(); i-- > 0;) next = build(node.children[i], next);
        return next;
      case RegexNode::Kind::kEither: {
        uint32_t first = build(node.children.back(), next);
        for (size_t i = node.children.size() - 1; i-- > 0;) {
          const uint32_t way = build(node.children[i], next);
          first = add({Place::Kind::kSplit, nullptr, way, first});
        }
        return first;
      }
      case RegexNode::Kind::kRepeat:
        return repeat(node, next);
    }
    return next;
  }

  uint32_t any_star(uint32_t next) {
    const uint32_t split = add({Place::Kind::kSplit, nullptr, Place::kNone, next});
    all[split].next = add({Place::Kind::kSet, &any_char(), split});
    return split;
  }

  std::vector<Place> all;

 private:
  uint32_t repeat(const RegexNode& node, uint32_t next) {
    const uint32_t inner = node.children.front();
    if (node.max == RegexNode::kNoMaximum) {
      const uint32_t split = add({Place::Kind::kSplit, nullptr, Place::kNone, next});
      const uint32_t again = build(inner, split);
      all[split].next = again;
      next = split;
    } else {
      const uint32_t end = next;
      for (uint32_t i = node.min; i < node.max; ++i) {
        const uint32_t once = build(inner, next);
        next = add({Place::Kind::kSplit, nullptr, once, end});
      }
    }
    for (uint32_t i = 0; i < node.min; ++i) {
      budget_.take_steps(1);
      next = build(inner, next);
    }
    return next;
  }

  const RegexTree& tree_;
  CompileBudget& budget_;
};

class Subsets {
 public:
  // From `everything` on every text is taken.
  Subsets(const std::vector<Place>& places, uint32_t everything, CompileBudget& budget)
      : places_(places), everything_(everything), budget_(budget), seen_(places.size()) {}

  CharDfa build(uint32_t start) {
    state_of(closure({start}, true, false), true);
    for (uint32_t s = 0; s < sets_.size(); ++s) {
      // Copied: sets_ grows.
      const Set set = sets_[s];
      if (is_everything(set)) {
        out_.states[s].edges = {{0, kFirstSurrogate - 1, s}, {kLastSurrogate + 1, kLastChar, s}};
        continue;
      }
      leave(s, set);
    }
    return std::move(out_);
  }

 private:
  using Set = std::vector<uint32_t>;

  bool is_everything(const Set& set) const { return set.size() == 1 && set.front() == everything_; }

  // The places that take a character, and the ends, that are reached without one.
  Set closure(Set from, bool at_start, bool at_end) {
    ++round_;
    Set out;
    while (!from.empty()) {
      const uint32_t id = from.back();
      from.pop_back();
      if (id == Place::kNone || seen_[id] == round_) continue;
      seen_[id] = round_;
      budget_.take_steps(1);
      if (id == everything_) return {everything_};
      const Place& place = places_[id];
      switch (place.kind) {
        case Place::Kind::kSplit:
          from.push_back(place.next);
          from.push_back(place.other);
          break;
        case Place::Kind::kStart:
          if (at_start) from.push_back(place.next);
          break;
        case Place::Kind::kEnd:
          out.push_back(id);
          if (at_end) from.push_back(place.next);
          break;
        default:
          out.push_back(id);
      }
    }
    std::sort(out.begin(), out.end());
    return out;
  }

  uint32_t state_of(Set set, bool at_start) {
    const auto [place, is_new] =
        ids_.try_emplace({at_start, set}, static_cast<uint32_t>(sets_.size()));
    if (!is_new) return place->second;
    budget_.take_states(1);
    budget_.take_steps(set.size());
    const Set ends = closure(set, at_start, true);
    CharDfa::State state;
    state.accepts = std::any_of(ends.begin(), ends.end(), [&](uint32_t id) {
      return id == everything_ || places_[id].kind == Place::Kind::kAccept;
    });
    out_.states.push_back(std::move(state));
    sets_.push_back(std::move(set));
    return place->second;
  }

  void leave(uint32_t s, const Set& set) {
    std::vector<uint32_t> borders;
    for (const uint32_t id : set) {
      if (places_[id].kind != Place::Kind::kSet) continue;
      for (const auto& [first, last] : *places_[id].set) {
        borders.push_back(first);
        borders.push_back(last + 1);
      }
    }
    std::sort(borders.begin(), borders.end());
    borders.erase(std::unique(borders.begin(), borders.end()), borders.end());
    for (size_t i = 0; i + 1 < borders.size(); ++i) {
      Set next;
      for (const uint32_t id : set) {
        budget_.take_steps(1);
        if (places_[id].kind == Place::Kind::kSet && holds(*places_[id].set, borders[i])) {
          next.push_back(places_[id].next);
        }
      }
      if (next.empty()) continue;
      const uint32_t to = state_of(closure(std::move(next), false, false), false);
      auto& edges = out_.states[s].edges;
      if (!edges.empty() && edges.back().next == to && edges.back().last + 1 == borders[i]) {
        edges.back().last = borders[i + 1] - 1;
      } else {
        edges.push_back({borders[i], borders[i + 1] - 1, to});
      }
    }
  }

  static bool holds(const CharSet& set, uint32_t c) {
    const auto at = std::partition_point(set.begin(), set.end(),
                                         [&](const auto& range) { return range.second < c; });
    return at != set.end() && at->first <= c;
  }

  const std::vector<Place>& places_;
  uint32_t everything_;
  CompileBudget& budget_;
  std::vector<uint32_t> seen_;  // [places], the last round that came by
  uint32_t round_ = 0;
  std::map<std::pair<bool, Set>, uint32_t> ids_;
  std::vector<Set> sets_;
  CharDfa out_;
};

}  // namespace

CharDfa dfa_of_pattern(std::string_view pattern, CompileBudget& budget) {
  const RegexTree tree = parse_regex(pattern);
  Places places(tree, budget);
  const uint32_t accept = places.add({Place::Kind::kAccept});
  const uint32_t everything = places.any_star(accept);
  const uint32_t start = places.any_star(places.build(tree.root, everything));
  return Subsets(places.all, everything, budget).build(start);
}

CharDfa dfa_of_whole_pattern(std::string_view pattern, CompileBudget& budget) {
  const RegexTree tree = parse_regex(pattern);
  Places places(tree, budget);
  const uint32_t accept = places.add({Place::Kind::kAccept});
  const uint32_t start = places.build(tree.root, accept);
  return Subsets(places.all, Place::kNone, budget).build(start);
}

}  // namespace lockstep::serve
