#include "graph/plan.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace lockstep {
namespace {

// A chain x0 -> x1 -> ... of `n` elementwise ops over [tokens, width], each reading its two
// predecessors, so that at most three values are alive.
Graph chain(int n, int64_t width) {
  Graph graph;
  Node input;
  input.kind = NodeKind::kInput;
  input.name = "x";
  input.outputs = {{DType::kFloat32, Shape{Dim(Symbol::kTokens), width}}};
  graph.nodes.push_back(input);
  for (int i = 0; i < n; ++i) {
    Node node;
    node.op = find_op("elementwise");
    node.attrs.set("fn", std::string("add"));
    const auto last = static_cast<uint32_t>(graph.nodes.size() - 1);
    node.inputs = {{last, 0}, {last == 0 ? 0 : last - 1, 0}};
    node.outputs = {{DType::kFloat32, Shape{Dim(Symbol::kTokens), width + i % 3}}};
    graph.nodes.push_back(node);
  }
  graph.outputs.push_back({"y", {static_cast<uint32_t>(graph.nodes.size() - 1), 0}});
  return graph;
}

SymbolValues tokens(int64_t n) {
  SymbolValues most{};
  most.fill(1);
  most[static_cast<size_t>(Symbol::kTokens)] = n;
  return most;
}

TEST(PlanTest, ValuesThatLiveTogetherNeverOverlap) {
  const Graph graph = chain(40, 33);
  const SymbolValues most = tokens(7);
  const Plan plan = plan_memory(graph, most);
  auto last_use = [&](ValueId v) {
    uint32_t last = v.node;
    for (uint32_t n = 0; n < graph.nodes.size(); ++n) {
      for (const ValueId& input : graph.nodes[n].inputs) {
        if (input == v) last = n;
      }
    }
    return last;
  };
  int n_pairs = 0;
  for (const auto& [a, a_offset] : plan.offsets) {
    for (const auto& [b, b_offset] : plan.offsets) {
      if (a == b || last_use(a) < b.node || last_use(b) < a.node) continue;
      ++n_pairs;
      const auto a_bytes = static_cast<uint64_t>(graph.type(a).shape.elements(most)) * 4;
      const auto b_bytes = static_cast<uint64_t>(graph.type(b).shape.elements(most)) * 4;
      EXPECT_TRUE(a_offset + a_bytes <= b_offset || b_offset + b_bytes <= a_offset)
          << a.node << " and " << b.node;
      EXPECT_LE(a_offset + a_bytes, plan.arena_bytes);
      EXPECT_EQ(a_offset % 64, 0u);
    }
  }
  EXPECT_GT(n_pairs, 50);
}

TEST(PlanTest, MemoryIsReusedAndOutputsLieOutside) {
  const Graph graph = chain(40, 33);
  const Plan plan = plan_memory(graph, tokens(512));
  EXPECT_LT(plan.arena_bytes, plan.unshared_bytes / 8);
  EXPECT_EQ(plan.offsets.size(), 39u);
  EXPECT_FALSE(plan.offsets.contains(graph.outputs[0].value));
}

}  // namespace
}  // namespace lockstep
