#include "graph/shard.h"

#include <fmt/format.h>

#include <algorithm>

#include "graph/division.h"
#include "lockstep/error.h"

namespace lockstep {
namespace {

// Builds one rank's graph, node by node of the whole.
class RankBuilder {
 public:
  RankBuilder(const Graph& whole, const Division& division, int rank)
      : whole_(whole), division_(division), rank_(rank) {
    Graph& graph = to_.graph;
    graph.architecture = whole.architecture;
    graph.activation_dtype = whole.activation_dtype;
    for (const Call& call : whole.calls) {
      graph.calls.push_back({call.path, call.class_name, call.index, call.parent, 0, 0, {}, {}});
    }
  }

  RankGraph build() {
    for (uint32_t n = 0; n < whole_.nodes.size(); ++n) {
      const Node& node = whole_.nodes[n];
      if (node.kind == NodeKind::kInput) add_input(n);
      if (node.kind == NodeKind::kOp) add_op(n);
    }
    for (const GraphOutput& output : whole_.outputs) {
      to_.graph.outputs.push_back({output.name, input_as(output.value, {}, kNoCall)});
    }
    return std::move(to_);
  }

 private:
  ValueId add(Node node) {
    to_.graph.nodes.push_back(std::move(node));
    return {static_cast<uint32_t>(to_.graph.nodes.size() - 1), 0};
  }

  TensorType local_type(const TensorType& type, const Layout& layout) const {
    TensorType local = type;
    if (!layout.is_whole()) local.shape[layout.dim] = layout.size(rank_);
    return local;
  }

  void add_input(uint32_t n) {
    Node node = whole_.nodes[n];
    node.outputs[0] = local_type(node.outputs[0], division_.layout({n, 0}));
    to_.values[{n, 0}] = add(std::move(node));
    const auto cache = std::ranges::find(whole_.caches, n, &CacheInput::node);
    if (cache == whole_.caches.end()) return;
    to_.graph.caches.push_back(*cache);
    to_.graph.caches.back().node = to_.values[{n, 0}].node;
  }

  // The parameter `v`, or the rank's ranges of it: one node for each layout in use.
  ValueId parameter_as(ValueId v, const Layout& layout) {
    for (const auto& [key, made] : parameters_) {
      if (key.first == v && key.second == layout) return made;
    }
    Node node = whole_.node(v);
    node.outputs[0] = local_type(node.outputs[0], layout);
    const ValueId made = add(std::move(node));
    Parameter parameter = *std::ranges::find(whole_.parameters, v.node, &Parameter::node);
    parameter.node = made.node;
    if (!layout.is_whole()) {
      parameter.held_dim = layout.dim;
      parameter.whole_size = whole_.type(v).shape[layout.dim].count;
      parameter.held = layout.ranges[static_cast<size_t>(rank_)];
    }
    to_.graph.parameters.push_back(std::move(parameter));
    parameters_.push_back({{v, layout}, made});
    if (layout.is_whole()) to_.values[v] = made;
    return made;
  }

  ValueId add_conversion(const char* op, ValueId from, Attrs attrs, uint32_t call) {
    Node node;
    node.op = find_op(op);
    node.attrs = std::move(attrs);
    node.inputs = {from};
    node.call = call;
    node.outputs =
        node.op->infer({{&to_.graph.type(from), 1}, node.attrs, whole_.activation_dtype});
    return add(std::move(node));
  }

  ValueId gathered(ValueId v, uint32_t call) {
    const auto known = gathered_.find(v);
    if (known != gathered_.end()) return known->second;
    const Layout lies = division_.layout(v);
    FlatSpread flat = flattened(lies.ranges);
    Attrs attrs;
    attrs.set("dim", int64_t{lies.dim});
    attrs.set("size", whole_.type(v).shape[lies.dim].count);
    attrs.set("ranks", std::move(flat.ranks));
    attrs.set("bounds", std::move(flat.bounds));
    return gathered_[v] = add_conversion("all_gather", to_.values.at(v), std::move(attrs), call);
  }

  ValueId narrowed(ValueId whole, const Layout& layout, uint32_t call) {
    Attrs attrs;
    attrs.set("dim", int64_t{layout.dim});
    attrs.set("bounds", flattened({layout.ranges[static_cast<size_t>(rank_)]}).bounds);
    return add_conversion("slice", whole, std::move(attrs), call);
  }

  // `v` as an op wants it, converted where it lies otherwise.
  ValueId input_as(ValueId v, const Layout& want, uint32_t call) {
    if (whole_.node(v).kind == NodeKind::kParameter) return parameter_as(v, want);
    const Layout lies = division_.layout(v);
    if (lies == want) return to_.values.at(v);
    const ValueId all = lies.is_whole() ? to_.values.at(v) : gathered(v, call);
    return want.is_whole() ? all : narrowed(all, want, call);
  }

  // How much of input 0's split dimension the rank holds before the op's part of it begins.
  int64_t input_begin(uint32_t n, const AxisDim& dim) const {
    int64_t begin = 0;
    const Layout lies = division_.layout(whole_.nodes[n].inputs[0]);
    if (lies.is_whole() || lies.dim != dim.dim) return dim.offset;
    for (const Range& range : lies.ranges[static_cast<size_t>(rank_)]) {
      begin += std::max<int64_t>(0, std::min(range.end, dim.offset) - range.begin);
    }
    return begin;
  }

  void add_op(uint32_t n) {
    const Node& from = whole_.nodes[n];
    const Division::Divided* divided = division_.of(n);
    Node node;
    node.op = from.op;
    node.call = from.call;
    node.attrs = from.attrs;
    for (size_t i = 0; i < from.inputs.size(); ++i) {
      const bool is_once =
          divided != nullptr && divided->axis.inputs[i].kind == AxisDim::Kind::kOnce;
      if (is_once && rank_ != 0) continue;
      const Layout want = divided == nullptr ? Layout{} : division_.wanted(n, i);
      if ((from.op->mutated_inputs >> i & 1) != 0) check_cache(n, i, want);
      node.inputs.push_back(input_as(from.inputs[i], want, from.call));
    }
    if (divided != nullptr && from.op->local_attrs != nullptr) {
      node.attrs = from.op->local_attrs(
          from.attrs, {divided->axis, divided->units[static_cast<size_t>(rank_)], from.outputs[0],
                       input_begin(n, divided->axis.inputs[0])});
    }
    std::vector<TensorType> types;
    for (const ValueId& input : node.inputs) types.push_back(to_.graph.type(input));
    node.outputs = from.op->infer({types, node.attrs, whole_.activation_dtype});
    const bool is_sum = divided != nullptr && divided->axis.is_sum;
    const ValueId made = add(std::move(node));
    for (uint32_t i = 0; i < from.outputs.size(); ++i) {
      const ValueId v{n, i};
      to_.values[v] =
          is_sum ? summed({made.node, i}, from.outputs[i].dtype, from.call) : ValueId{made.node, i};
      check(v);
    }
  }

  // A copy of a cache would be written instead of it.
  void check_cache(uint32_t n, size_t i, const Layout& want) const {
    const Node& node = whole_.nodes[n];
    const Layout lies = division_.layout(node.inputs[i]);
    if (lies == want) return;
    throw Error(ErrorCode::kInternal,
                fmt::format("[{}] {} lies {}, wanted {}", node.op->name,
                            whole_.node(node.inputs[i]).name, to_string(lies), to_string(want)));
  }

  ValueId summed(ValueId partial, DType dtype, uint32_t call) {
    Attrs attrs;
    attrs.set("to", std::string(dtype_name(dtype)));
    return add_conversion("all_reduce", partial, std::move(attrs), call);
  }

  // An op whose axes promise what its shape rule does not keep is a fault of the op.
  void check(ValueId v) const {
    const TensorType expected = local_type(whole_.type(v), division_.layout(v));
    const TensorType& found = to_.graph.type(to_.values.at(v));
    if (expected == found) return;
    const Node& node = whole_.node(v);
    throw Error(ErrorCode::kInternal,
                fmt::format("[{}] rank {} of {}: expected {}, found {}", node.op->name, rank_,
                            to_string(division_.layout(v)), to_string(expected), to_string(found)));
  }

  const Graph& whole_;
  const Division& division_;
  int rank_;
  RankGraph to_;
  std::vector<std::pair<std::pair<ValueId, Layout>, ValueId>> parameters_;
  std::map<ValueId, ValueId> gathered_;
};

}  // namespace

ShardedGraph shard(const Graph& graph, int n_ranks) {
  if (n_ranks < 1) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("ranks: expected at least 1, found {}", n_ranks));
  }
  const Division division(graph, n_ranks);
  ShardedGraph sharded{{}, division.layouts(), division.notices()};
  for (int rank = 0; rank < n_ranks; ++rank) {
    sharded.ranks.push_back(RankBuilder(graph, division, rank).build());
  }
  return sharded;
}

}  // namespace lockstep
