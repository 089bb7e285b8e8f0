// Kinds of fault that a graph can express, as tables: what each plants, and which row of the
// catalogue it is. A kind finds its own site; the seed chooses among several.
#pragma once

#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "graph_edit.h"
#include "sites.h"

namespace lockstep::mutants {

/// What a kind plants with: the graph, its sites, the seed's choices and the magnitude.
class Plant {
 public:
  Plant(Graph& graph, int magnitude_, uint64_t seed)
      : edit(graph), sites(graph), magnitude(magnitude_), random_(seed) {}

  GraphEdit edit;
  const Sites sites;
  const int magnitude;  // 0 to 2, the faintest first where there is an order
  std::string note;     // what was planted, with its numbers: for people

  const Graph& graph() const { return edit.graph(); }
  /// One of `choices`, by the seed.
  template <class T>
  const T& pick(const std::vector<T>& choices) {
    return choices[random_() % choices.size()];
  }
  /// One of three, by the magnitude.
  template <class T>
  T by_magnitude(T a, T b, T c) const {
    return magnitude == 0 ? a : magnitude == 1 ? b : c;
  }
  bool coin() { return (random_() >> 40 & 1) != 0; }
  std::mt19937_64& random() { return random_; }

 private:
  std::mt19937_64 random_;
};

struct FaultKind {
  std::string_view id;
  /// Rows of the catalogue that name it rightly, separated by spaces; empty: no row does, and
  /// whatever names it is wrong.
  std::string_view rows;
  /// False where the graph has no place for it, or the magnitude no meaning: then the graph is of
  /// no further use.
  bool (*plant)(Plant& plant);
};

/// All kinds, the unknown ones last.
std::vector<FaultKind> fault_kinds();

std::span<const FaultKind> rotary_kinds();
std::span<const FaultKind> attention_kinds();
std::span<const FaultKind> norm_kinds();
std::span<const FaultKind> projection_kinds();
std::span<const FaultKind> feed_forward_kinds();
std::span<const FaultKind> residual_kinds();
std::span<const FaultKind> state_kinds();
std::span<const FaultKind> unknown_kinds();

}  // namespace lockstep::mutants
