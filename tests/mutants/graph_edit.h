// Edits of a traced graph that plant a fault: attributes, edges and weights changed, values
// replaced, nodes put in between. Ids stay as they were traced until finish(); new nodes get ids
// behind them.
#pragma once

#include <functional>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "graph/graph.h"

namespace lockstep::mutants {

/// What an op computes instead: it may call `sound`, the op's own, with other views.
using Wrong = std::function<void(const OpCall& call, void (*sound)(const OpCall& call))>;

/// Elements widened and row-major; and back, each rounded once to the view's type.
std::vector<double> read_elements(const View& view);
void write_elements(const View& view, const std::vector<double>& values);

/// What one fault changed: nodes whose computation is another, and taps that another value took the
/// place of, as isolated replay names them.
struct PlantedFault {
  std::set<uint32_t> changed;
  std::set<std::string> renamed;
};

class GraphEdit {
 public:
  explicit GraphEdit(Graph& graph);

  /// What follows is another fault.
  void begin_fault() { faults_.emplace_back(); }
  /// Whether two faults wanted the same node; the graph is of no use then.
  bool has_conflict() const { return has_conflict_; }

  const Graph& graph() const { return graph_; }
  const Node& node(uint32_t n) const { return graph_.nodes[n]; }

  void set(uint32_t n, const char* attr, Attrs::Value value);
  /// Input `i` of node `n` reads `to`, which comes before it. What its module is called with goes
  /// along where nothing else there reads it.
  void rewire(uint32_t n, size_t i, ValueId to);
  void drop_input(uint32_t n, size_t i);
  void add_input(uint32_t n, ValueId value);
  /// Whatever reads or names `from` takes `to`; but for node `but`, which makes `to` of it.
  void replace(ValueId from, ValueId to, std::optional<uint32_t> but = {});

  /// Node `n` computes `wrong`; its name, attributes and inputs stay.
  void wrap(uint32_t n, Wrong wrong);
  /// Node `n` runs with its input `i` changed: values as `change` leaves them, row-major.
  using Change = std::function<void(std::vector<double>& values, const View& view)>;
  void change_input(uint32_t n, size_t i, Change change);
  /// The outputs of node `n` are changed once they are computed.
  void change_output(uint32_t n, Change change, size_t output = 0);
  /// The state or cache that is input `i` is changed before node `n` runs on it, where the step
  /// decodes: has one row in the node's first input.
  void change_state(uint32_t n, size_t i, Change change);

  /// A copy of node `n` right behind it; nobody reads it yet.
  uint32_t clone(uint32_t n);
  /// A node of a registered op, in the call of node `before` and computed before it.
  uint32_t add_op(uint32_t before, const char* op, std::vector<ValueId> inputs, const Attrs& attrs);
  /// The weight behind input `i` of node `n`; none where it is computed.
  const Parameter* parameter_of(uint32_t n, size_t i) const;
  /// Node `n` takes the weight at input `i` as these pieces of the checkpoint make it.
  void load(uint32_t n, size_t i, std::vector<StoredPart> parts);

  /// Puts the nodes in order; nothing may follow.
  void finish();
  /// Then: what each fault changed.
  const std::vector<PlantedFault>& faults() const { return faults_; }

 private:
  uint32_t append(Node node, double place);
  double place_behind(uint32_t n) const;
  double place_before(uint32_t n) const;
  void mark(uint32_t n) { faults_.back().changed.insert(n); }
  void move_calls(const std::vector<uint32_t>& to);

  Graph& graph_;
  const uint32_t n_traced_;
  std::vector<double> places_;  // of each node, in the final order
  std::vector<PlantedFault> faults_{1};
  bool has_conflict_ = false;
};

}  // namespace lockstep::mutants
