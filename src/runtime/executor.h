// Runs a graph on the CPU: nodes in order, each value at its place in the arena.
#pragma once

#include <functional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "graph/graph.h"
#include "graph/plan.h"
#include "ops/op.h"
#include "tensor/tensor.h"

namespace lockstep {

/// Called with each observed value right after it is computed, before its memory is used again.
using Observe = std::function<void(ValueId, const View&)>;

class Executor {
 public:
  /// `parameters` is parallel to graph.parameters; `graph` must outlive this. `most` bounds every
  /// symbol of every run.
  Executor(const Graph& graph, std::vector<View> parameters, const SymbolValues& most);

  /// Memory for an input node (step data, a cache, an argument of a sub-graph): valid until bound
  /// again. Throws kNotFound for no such input.
  void bind_input(std::string_view name, const View& view);
  bool has_input(std::string_view name) const { return inputs_.contains(name); }
  /// Where output `i` of the graph goes: at least its largest size. Unbound outputs stay in memory
  /// of the executor's own.
  void bind_output(size_t i, void* data);

  /// Values to report in every run, until set again. An op that nothing needs, neither an output
  /// nor an observed value nor a cache, does not run.
  void observe(const std::vector<ValueId>& values, Observe observe);

  /// Throws kOutOfRange when a symbol exceeds `most`, kFailedPrecondition naming an input that is
  /// unbound or of another type, and what ops throw, with the module path in front.
  void run(const SymbolValues& now, RunContext& context);

  /// The value as the last run left it; only outputs are kept.
  const View& output(size_t i) const { return view(graph_.outputs[i].value); }
  uint64_t arena_bytes() const { return arena_bytes_; }

 private:
  const View& view(ValueId v) const { return views_[first_[v.node] + v.output]; }
  View& view(ValueId v) { return views_[first_[v.node] + v.output]; }
  void mark_needed();
  void shape_view(View& view, const TensorType& type, const SymbolValues& now) const;
  void check_inputs(const SymbolValues& now) const;
  void run_node(uint32_t n, const SymbolValues& now, RunContext& context);

  const Graph& graph_;
  SymbolValues most_;
  std::vector<uint32_t> first_;  // node -> its first view
  std::vector<View> views_;
  std::unordered_map<std::string_view, uint32_t> inputs_;  // name -> node
  Tensor arena_;
  uint64_t arena_bytes_ = 0;
  std::vector<Tensor> outputs_;
  std::vector<View> input_views_, output_views_;  // scratch of run_node
  std::vector<bool> observed_;                    // parallel to views_
  std::vector<bool> needed_;                      // parallel to graph_.nodes
  bool observing_ = false;
  Observe observe_;
};

}  // namespace lockstep
