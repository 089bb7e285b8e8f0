#include "serve/automaton.h"

#include <algorithm>
#include <map>
#include <string_view>
#include <utility>

namespace lockstep::serve {
namespace {

constexpr uint32_t kDead = UINT32_MAX;

void append(std::vector<CharDfa::Edge>& edges, uint32_t first, uint32_t last, uint32_t next) {
  if (!edges.empty() && edges.back().next == next && edges.back().last + 1 == first) {
    edges.back().last = last;
  } else {
    edges.push_back({first, last, next});
  }
}

// The bytes of JSON for one automaton of characters.
//
//   before --"--> state 0 --character--> state s ... --"--> end
//
// A character of several bytes has states of its own between; those that lead to the same place
// whatever the bytes are (tails) are shared.
class StringBuilder {
 public:
  StringBuilder(const CharDfa& dfa, CompileBudget& budget) : dfa_(dfa), budget_(budget) {}

  Automaton build() {
    // Numbers first: before, end, then the characters' states.
    bytes_.resize(2 + dfa_.states.size());
    bytes_[0].edges = {{'"', '"', of(0)}};
    bytes_[1].accepts = true;
    for (uint32_t s = 0; s < dfa_.states.size(); ++s) fill(s);
    Automaton out;
    for (const Bytes& state : bytes_) out.add(state.edges, state.accepts);
    return out;
  }

 private:
  struct Bytes {
    std::vector<Automaton::Edge> edges;
    bool accepts = false;
  };
  // The bytes after the first: how many, and what the next may be.
  struct Tail {
    uint8_t n, first, last;
    auto operator<=>(const Tail&) const = default;
  };

  static uint32_t of(uint32_t state) { return state + 2; }

  uint32_t add() {
    budget_.take_states(1);
    bytes_.emplace_back();
    return static_cast<uint32_t>(bytes_.size() - 1);
  }

  void put(uint32_t from, uint8_t first, uint8_t last, uint32_t next) {
    if (next == kDead) return;
    auto& edges = bytes_[from].edges;
    if (!edges.empty() && edges.back().next == next && edges.back().last + 1 == first) {
      edges.back().last = last;
    } else {
      edges.push_back({first, last, next});
    }
  }

  // Where all characters first to last lead: a state, kDead, or nothing where they differ.
  std::optional<uint32_t> target(uint32_t s, uint32_t first, uint32_t last) {
    budget_.take_steps(1);
    const auto& edges = dfa_.states[s].edges;
    const auto at = std::partition_point(
        edges.begin(), edges.end(), [&](const CharDfa::Edge& edge) { return edge.last < first; });
    if (at == edges.end() || at->first > last) return kDead;
    if (at->first <= first && at->last >= last) return of(at->next);
    return std::nullopt;
  }

  uint32_t tail(uint32_t next, Tail shape) {
    if (next == kDead || shape.n == 0) return next;
    const auto known = tails_.find({next, shape});
    if (known != tails_.end()) return known->second;
    const uint32_t id = add();
    const uint8_t n = shape.n - 1;
    const uint32_t after = tail(next, {n, 0x80, 0xbf});
    put(id, shape.first, shape.last, after);
    tails_[{next, shape}] = id;
    return id;
  }

  // After a first byte whose characters begin at `base`, were its next byte 0x80.
  uint32_t branch(uint32_t s, uint32_t base, Tail shape) {
    if (shape.n == 0) return target(s, base, base).value_or(kDead);
    const uint32_t each = 1u << (6 * (shape.n - 1));
    const uint32_t first = base + (shape.first - 0x80u) * each;
    const uint32_t last = base + (shape.last - 0x80u + 1u) * each - 1;
    if (const auto same = target(s, first, last)) return tail(*same, shape);
    const uint32_t id = add();
    const uint8_t n = shape.n - 1;
    for (uint32_t byte = shape.first; byte <= shape.last; ++byte) {
      const uint32_t next = branch(s, base + (byte - 0x80u) * each, {n, 0x80, 0xbf});
      put(id, static_cast<uint8_t>(byte), static_cast<uint8_t>(byte), next);
    }
    return id;
  }

  void fill(uint32_t s) {
    const uint32_t id = of(s);
    const uint32_t escape = escapes(s);
    for (uint32_t c = 0x20; c < 0x80; ++c) {
      uint32_t next = kDead;
      if (c == '"') {
        next = dfa_.states[s].accepts ? 1 : kDead;
      } else if (c == '\\') {
        next = escape;
      } else {
        next = target(s, c, c).value_or(kDead);
      }
      put(id, static_cast<uint8_t>(c), static_cast<uint8_t>(c), next);
    }
    for (uint32_t lead = 0xc2; lead <= 0xf4; ++lead) {
      uint32_t next = kDead;
      if (lead < 0xe0) {
        next = branch(s, (lead & 0x1fu) << 6, {1, 0x80, 0xbf});
      } else if (lead < 0xf0) {
        const uint8_t first = lead == 0xe0 ? 0xa0 : 0x80, last = lead == 0xed ? 0x9f : 0xbf;
        next = branch(s, (lead & 0xfu) << 12, {2, first, last});
      } else {
        const uint8_t first = lead == 0xf0 ? 0x90 : 0x80, last = lead == 0xf4 ? 0x8f : 0xbf;
        next = branch(s, (lead & 7u) << 18, {3, first, last});
      }
      put(id, static_cast<uint8_t>(lead), static_cast<uint8_t>(lead), next);
    }
  }

  // What comes after a backslash.
  uint32_t escapes(uint32_t s) {
    constexpr std::pair<char, char> kShort[] = {{'"', '"'},  {'\\', '\\'}, {'b', '\b'}, {'f', '\f'},
                                                {'n', '\n'}, {'r', '\r'},  {'t', '\t'}};
    if (target(s, 0, 0x1f) == kDead && target(s, '"', '"') == kDead &&
        target(s, '\\', '\\') == kDead) {
      return kDead;
    }
    const uint32_t id = add();
    for (const auto& [name, c] : kShort) {
      put(id, static_cast<uint8_t>(name), static_cast<uint8_t>(name),
          target(s, static_cast<uint8_t>(c), static_cast<uint8_t>(c)).value_or(kDead));
    }
    const uint32_t hex = controls(s);
    put(id, 'u', 'u', hex);
    return bytes_[id].edges.empty() ? kDead : id;
  }

  // u, then 00, then the two digits of a control character that has no short escape.
  uint32_t controls(uint32_t s) {
    if (target(s, 0, 0x1f) == kDead) return kDead;
    const uint32_t id = add(), zero = add(), digit = add();
    put(id, '0', '0', zero);
    put(zero, '0', '0', digit);
    for (uint32_t high = 0; high < 2; ++high) {
      const uint32_t low = add();
      for (uint32_t i = 0; i < 16; ++i) {
        const uint32_t c = high * 16 + i;
        if (std::string_view("\b\f\n\r\t").find(static_cast<char>(c)) != std::string_view::npos) {
          continue;
        }
        const auto name = static_cast<uint8_t>("0123456789abcdef"[i]);
        put(low, name, name, target(s, c, c).value_or(kDead));
      }
      const auto name = static_cast<uint8_t>('0' + high);
      if (!bytes_[low].edges.empty()) put(digit, name, name, low);
    }
    return bytes_[digit].edges.empty() ? kDead : id;
  }

  const CharDfa& dfa_;
  CompileBudget& budget_;
  std::vector<Bytes> bytes_;
  std::map<std::pair<uint32_t, Tail>, uint32_t> tails_;
};

}  // namespace

void CompileBudget::take_steps(size_t n) {
  steps_ += n;
  if (steps_ > kMaxSteps) throw SchemaRefused{"the schema takes too long to compile"};
}

void CompileBudget::take_states(size_t n) {
  states_ += n;
  if (states_ > kMaxStates) {
    throw SchemaRefused{"the patterns and bounds of the schema are too large together"};
  }
}

CharDfa dfa_of_length(uint32_t min, std::optional<uint32_t> max, CompileBudget& budget) {
  CharDfa out;
  const uint32_t n = max.value_or(min);
  budget.take_states(size_t{n} + 1);
  out.states.resize(size_t{n} + 1);
  for (uint32_t i = 0; i <= n; ++i) {
    out.states[i].accepts = i >= min;
    if (i == n && max.has_value()) break;
    const uint32_t next = std::min(i + 1, n);
    out.states[i].edges = {{0, kFirstSurrogate - 1, next}, {kLastSurrogate + 1, kLastChar, next}};
  }
  return out;
}

CharDfa intersect(const CharDfa& a, const CharDfa& b, CompileBudget& budget) {
  CharDfa out;
  std::map<std::pair<uint32_t, uint32_t>, uint32_t> ids;
  std::vector<std::pair<uint32_t, uint32_t>> pairs;
  const auto id_of = [&](uint32_t x, uint32_t y) {
    const auto [place, is_new] = ids.try_emplace({x, y}, static_cast<uint32_t>(pairs.size()));
    if (is_new) {
      budget.take_states(1);
      pairs.emplace_back(x, y);
    }
    return place->second;
  };
  id_of(0, 0);
  for (size_t i = 0; i < pairs.size(); ++i) {
    const CharDfa::State &x = a.states[pairs[i].first], &y = b.states[pairs[i].second];
    CharDfa::State state;
    state.accepts = x.accepts && y.accepts;
    for (size_t m = 0, n = 0; m < x.edges.size() && n < y.edges.size();) {
      budget.take_steps(1);
      const CharDfa::Edge &p = x.edges[m], &q = y.edges[n];
      const uint32_t first = std::max(p.first, q.first), last = std::min(p.last, q.last);
      if (first <= last) append(state.edges, first, last, id_of(p.next, q.next));
      (p.last < q.last ? m : n) += 1;
    }
    out.states.push_back(std::move(state));
  }
  return out;
}

bool trim(CharDfa& dfa) {
  const size_t n = dfa.states.size();
  std::vector<std::vector<uint32_t>> before(n);
  std::vector<uint32_t> waiting;
  std::vector<bool> alive(n);
  for (uint32_t s = 0; s < n; ++s) {
    for (const CharDfa::Edge& edge : dfa.states[s].edges) before[edge.next].push_back(s);
    if (dfa.states[s].accepts) {
      alive[s] = true;
      waiting.push_back(s);
    }
  }
  while (!waiting.empty()) {
    const uint32_t s = waiting.back();
    waiting.pop_back();
    for (const uint32_t from : before[s]) {
      if (alive[from]) continue;
      alive[from] = true;
      waiting.push_back(from);
    }
  }
  if (n == 0 || !alive[0]) return false;
  std::vector<uint32_t> number(n);
  uint32_t n_alive = 0;
  for (uint32_t s = 0; s < n; ++s) {
    if (alive[s]) number[s] = n_alive++;
  }
  std::vector<CharDfa::State> kept;
  for (uint32_t s = 0; s < n; ++s) {
    if (!alive[s]) continue;
    CharDfa::State& state = dfa.states[s];
    std::erase_if(state.edges, [&](const CharDfa::Edge& edge) { return !alive[edge.next]; });
    for (CharDfa::Edge& edge : state.edges) edge.next = number[edge.next];
    kept.push_back(std::move(state));
  }
  dfa.states = std::move(kept);
  return true;
}

std::optional<uint32_t> Automaton::next(uint32_t state, unsigned char byte) const {
  const State& own = states[state];
  const auto begin = edges.begin() + own.first_edge, end = begin + own.n_edges;
  const auto at =
      std::partition_point(begin, end, [&](const Edge& edge) { return edge.last < byte; });
  if (at == end || at->first > byte) return std::nullopt;
  return at->next;
}

void Automaton::add(const std::vector<Edge>& of_state, bool accepts) {
  states.push_back(
      {static_cast<uint32_t>(edges.size()), static_cast<uint16_t>(of_state.size()), accepts});
  edges.insert(edges.end(), of_state.begin(), of_state.end());
}

Automaton json_strings(const CharDfa& dfa, CompileBudget& budget) {
  budget.take_states(2 + dfa.states.size());
  return StringBuilder(dfa, budget).build();
}

}  // namespace lockstep::serve
