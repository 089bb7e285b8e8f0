// Divides a graph among ranks. No module says how: the ops do (ops/shard.h), and the pass joins
// their ways up, from the attention and scan calls outwards.
//
//   1. Every op that runs along a sequence is divided by heads; what it is made from follows back
//      to the products that made it, which are divided by columns.
//   2. In order: an op whose inputs lie divided follows them; a product that reads a divided value
//      is divided by rows, its results added up. A product whose input was made by element-wise ops
//      from other products alone divides with them (an MLP). Tables and experts divide by rows.
//   3. The last product, of the logits, is divided by columns: by vocabulary.
//
// Whatever is not divided runs whole on every rank; where a value is wanted otherwise than it lies
// it is gathered or narrowed. So a division can be poor, never wrong.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "graph/layout.h"

namespace lockstep {

/// The graph of one rank, and where it computes the values of the whole.
struct RankGraph {
  Graph graph;  // its calls have paths alone, for messages
  std::map<ValueId, ValueId> values;
};

struct ShardedGraph {
  std::vector<RankGraph> ranks;
  /// Of the whole graph's values, those that are divided.
  std::map<ValueId, Layout> layouts;
  /// Module paths of ops along a sequence that could not be divided, and why.
  std::vector<std::string> notices;
};

/// Throws kInvalidArgument for fewer than one rank.
ShardedGraph shard(const Graph& graph, int n_ranks);

}  // namespace lockstep
