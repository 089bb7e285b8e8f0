// Deterministic automata: over characters, as patterns and lengths are put together, and over the
// bytes of JSON, as answers are followed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace lockstep::serve {

/// Thrown while a schema is compiled, and caught where compiling began.
struct SchemaRefused {
  std::string message;
};

/// What compiling one schema may cost, all its parts together.
class CompileBudget {
 public:
  static constexpr size_t kMaxSteps = 5'000'000, kMaxStates = 100'000;

  /// Both throw SchemaRefused once the budget is spent.
  void take_steps(size_t n);
  void take_states(size_t n);

 private:
  size_t steps_ = 0, states_ = 0;
};

/// Over Unicode scalar values. State 0 is where a text begins.
struct CharDfa {
  struct Edge {
    uint32_t first, last;  // characters, both included
    uint32_t next;
  };
  struct State {
    std::vector<Edge> edges;  // sorted, apart from each other
    bool accepts = false;
  };
  std::vector<State> states;
};

inline constexpr uint32_t kLastChar = 0x10ffff, kFirstSurrogate = 0xd800, kLastSurrogate = 0xdfff;

/// Texts of min to max characters; nothing as `max`: without a bound.
CharDfa dfa_of_length(uint32_t min, std::optional<uint32_t> max, CompileBudget& budget);
/// Texts that both take.
CharDfa intersect(const CharDfa& a, const CharDfa& b, CompileBudget& budget);
/// Without ways that lead nowhere: from every state a text can be ended. False: it takes nothing.
bool trim(CharDfa& dfa);

/// Over bytes. State 0 is where the text begins; one that accepts and has no edges is its end.
struct Automaton {
  struct Edge {
    uint8_t first, last;  // bytes, both included
    uint32_t next;
  };
  struct State {
    uint32_t first_edge;
    uint16_t n_edges;
    bool accepts;
  };
  std::vector<State> states;
  std::vector<Edge> edges;

  std::optional<uint32_t> next(uint32_t state, unsigned char byte) const;
  /// Appends a state. Edges must be sorted.
  void add(const std::vector<Edge>& of_state, bool accepts);
};

/// The JSON strings, quotes included, whose content `dfa` takes. Every character is written in one
/// way: as it is, or by its shortest escape where JSON asks for one. `dfa` must be trimmed.
Automaton json_strings(const CharDfa& dfa, CompileBudget& budget);

}  // namespace lockstep::serve
