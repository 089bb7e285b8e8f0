// The memory plan: one arena for all values between ops, offsets chosen once by lifetime.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "graph/graph.h"

namespace lockstep {

struct Plan {
  /// Byte offset in the arena of every value that lives there; inputs, parameters, caches and
  /// outputs of the graph live elsewhere and are absent. Aliases share their source's entry.
  std::map<ValueId, uint64_t> offsets;
  uint64_t arena_bytes = 0;
  /// Sum of all sizes, had nothing been shared; for reports.
  uint64_t unshared_bytes = 0;
};

/// `most` holds the largest value of every symbol. Throws kOutOfRange when sizes overflow.
Plan plan_memory(const Graph& graph, const SymbolValues& most);

}  // namespace lockstep
