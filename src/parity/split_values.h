// A port that leaves something out hands one value on under two names, of which the reference knows
// two values: a norm that is skipped, a rotation that is forgotten, a layer that is passed by. Each
// name gets a value of its own, so that what was left out can be seen, and only that.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "parity/recording.h"

namespace lockstep::parity {

/// `graph` with an alias wherever names of one value were recorded with different numbers, in any
/// of the runs in `dtype`. Names with the numbers of the first stay with the value; of the others,
/// those with the same numbers share an alias, which what they are the input of reads.
struct SplitGraph {
  Graph graph;
  std::vector<ValueId> origin;  // by node of `graph`: where the data is in the graph it was made of
};

/// `misfits`: keys of recorded taps that are not to be compared.
SplitGraph split_values(const Graph& graph, const Recording& reference, const std::string& dtype,
                        const std::set<std::string>& misfits);

/// How two taps of the reference may differ that are the same value: by a rounding.
bool is_same_value(const View& a, const View& b, const std::string& dtype);

/// How a tap of the graph is told in a recording.
TapInfo tap_info(const lockstep::Tap& tap);

}  // namespace lockstep::parity
