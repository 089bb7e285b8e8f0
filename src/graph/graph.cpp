#include "graph/graph.h"

#include <algorithm>
#include <iterator>
#include <map>

#include "base/glob.h"

namespace lockstep {

ValueId Graph::storage(ValueId v) const {
  while (nodes[v.node].kind == NodeKind::kOp && nodes[v.node].op->run == nullptr) {
    v = nodes[v.node].inputs[0];
  }
  return v;
}

std::optional<uint32_t> Graph::find_call(std::string_view path, uint32_t index) const {
  for (uint32_t i = 0; i < calls.size(); ++i) {
    if (calls[i].path == path && calls[i].index == index) return i;
  }
  return std::nullopt;
}

std::optional<ValueId> Graph::find_input(std::string_view name) const {
  for (uint32_t i = 0; i < nodes.size(); ++i) {
    if (nodes[i].kind == NodeKind::kInput && nodes[i].name == name) return ValueId{i, 0};
  }
  return std::nullopt;
}

namespace {

// Copies nodes into a new graph, turning what lies outside into inputs.
class Extraction {
 public:
  explicit Extraction(const Graph& from) : from_(from) {
    to_.architecture = from.architecture;
    to_.activation_dtype = from.activation_dtype;
  }

  Graph of_call(uint32_t index) {
    const Call& call = from_.calls[index];
    for (size_t i = 0; i < call.inputs.size(); ++i) {
      argument_names_.emplace(call.inputs[i].value, "argument." + std::to_string(i));
    }
    for (uint32_t n = call.begin; n < call.end; ++n) {
      if (from_.nodes[n].kind == NodeKind::kOp) copy_op(n);
    }
    for (size_t i = 0; i < call.outputs.size(); ++i) {
      to_.outputs.push_back({"output." + std::to_string(i), map(call.outputs[i])});
    }
    copy_calls(index);
    return std::move(to_);
  }

  // `nodes` ascend, so that what one reads is there before it. A node may be needed for one of its
  // results while another is known.
  Graph of_nodes(const std::set<uint32_t>& nodes, ValueId target, std::set<ValueId> known) {
    known.erase(target);
    known_ = std::move(known);
    for (const uint32_t n : nodes) {
      copy_op(n);
      to_.nodes.back().call = kNoCall;
    }
    to_.outputs.push_back({"target", map(target)});
    return std::move(to_);
  }

 private:
  ValueId map(ValueId v) {
    const auto at = mapped_.find(v);
    if (at != mapped_.end()) return at->second;
    const Node& source = from_.node(v);
    if (source.kind != NodeKind::kOp) return copy_outside(v, source);
    Node input;
    input.kind = NodeKind::kInput;
    const auto name = argument_names_.find(v);
    input.name = name != argument_names_.end() ? name->second : value_name(v);
    input.outputs = {from_.type(v)};
    return add(v, std::move(input));
  }

  ValueId copy_outside(ValueId v, const Node& source) {
    Node node = source;
    node.call = kNoCall;
    const ValueId id = add(v, std::move(node));
    for (const Parameter& parameter : from_.parameters) {
      if (parameter.node == v.node) {
        to_.parameters.push_back(parameter);
        to_.parameters.back().node = id.node;
      }
    }
    for (const CacheInput& cache : from_.caches) {
      if (cache.node == v.node) {
        to_.caches.push_back(cache);
        to_.caches.back().node = id.node;
      }
    }
    return id;
  }

  ValueId add(ValueId from, Node node) {
    const ValueId id{static_cast<uint32_t>(to_.nodes.size()), 0};
    to_.nodes.push_back(std::move(node));
    mapped_[from] = id;
    return id;
  }

  void copy_op(uint32_t n) {
    Node node = from_.nodes[n];
    for (ValueId& input : node.inputs) input = map(input);
    const auto id = static_cast<uint32_t>(to_.nodes.size());
    for (uint32_t i = 0; i < node.outputs.size(); ++i) {
      if (!known_.contains({n, i})) mapped_[{n, i}] = {id, i};
    }
    new_index_[n] = id;
    to_.nodes.push_back(std::move(node));
  }

  void copy_calls(uint32_t call) {
    std::map<uint32_t, uint32_t> renumbered;
    const uint32_t end = from_.calls[call].end;
    for (uint32_t c = call; c < from_.calls.size() && from_.calls[c].begin < end; ++c) {
      if (c != call && !renumbered.contains(from_.calls[c].parent)) continue;
      Call copy = from_.calls[c];
      copy.parent = c == call ? kNoCall : renumbered[copy.parent];
      copy.begin = first_new_node(copy.begin);
      copy.end = first_new_node(copy.end);
      for (Call::Argument& argument : copy.inputs) argument.value = map(argument.value);
      for (ValueId& output : copy.outputs) output = map(output);
      renumbered[c] = static_cast<uint32_t>(to_.calls.size());
      to_.calls.push_back(std::move(copy));
    }
    for (Node& node : to_.nodes) {
      const auto at = renumbered.find(node.call);
      node.call = at == renumbered.end() ? kNoCall : at->second;
    }
    for (const FunctionalTap& tap : from_.taps) {
      const auto at = renumbered.find(tap.call);
      if (at != renumbered.end()) to_.taps.push_back({at->second, tap.name, map(tap.value)});
    }
  }

  uint32_t first_new_node(uint32_t old) const {
    const auto at = new_index_.lower_bound(old);
    return at == new_index_.end() ? static_cast<uint32_t>(to_.nodes.size()) : at->second;
  }

  const Graph& from_;
  Graph to_;
  std::map<ValueId, ValueId> mapped_;
  std::map<ValueId, std::string> argument_names_;
  std::map<uint32_t, uint32_t> new_index_;  // op nodes only
  std::set<ValueId> known_;                 // of ops, and to stay inputs
};

}  // namespace

std::string value_name(ValueId v) {
  return "value." + std::to_string(v.node) + "." + std::to_string(v.output);
}

Graph extract(const Graph& graph, uint32_t call) { return Extraction(graph).of_call(call); }

namespace {

std::vector<uint32_t> writers_before(const Graph& graph, ValueId input, uint32_t end) {
  std::vector<uint32_t> writers;
  for (uint32_t n = 0; n < end; ++n) {
    const Node& node = graph.nodes[n];
    if (node.kind != NodeKind::kOp) continue;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      if (node.inputs[i] == input && (node.op->mutated_inputs >> i & 1) != 0) writers.push_back(n);
    }
  }
  return writers;
}

}  // namespace

Graph cut(const Graph& graph, ValueId target, const std::set<ValueId>& known) {
  std::set<uint32_t> nodes;
  std::vector<uint32_t> open = {target.node};
  while (!open.empty()) {
    const uint32_t n = open.back();
    open.pop_back();
    if (graph.nodes[n].kind != NodeKind::kOp || !nodes.insert(n).second) continue;
    for (const ValueId& input : graph.nodes[n].inputs) {
      if (!known.contains(input)) open.push_back(input.node);
      // What is read from a cache or state is what earlier ops wrote there.
      if (graph.node(input).kind == NodeKind::kInput) {
        std::ranges::copy(writers_before(graph, input, n), std::back_inserter(open));
      }
    }
  }
  return Extraction(graph).of_nodes(nodes, target, known);
}

std::vector<Tap> list_taps(const Graph& graph, std::string_view pattern, TapInputs with_inputs) {
  // A call's inputs are known at its first node, its results after its last.
  struct Ordered {
    uint64_t at;
    Tap tap;
  };
  std::vector<Ordered> found;
  for (const Call& call : graph.calls) {
    if (call.path.empty() || !glob_match(pattern, call.path)) continue;
    Tap tap{call.path, call.class_name, Tap::Role::kInput, {}, 0, call.index, {}};
    for (size_t i = 0; with_inputs == TapInputs::kYes && i < call.inputs.size(); ++i) {
      tap.index = static_cast<uint32_t>(i);
      tap.argument = call.inputs[i].name;
      tap.value = call.inputs[i].value;
      found.push_back({uint64_t{call.begin} * 2, tap});
    }
    tap.role = Tap::Role::kOutput;
    tap.argument.clear();
    for (size_t i = 0; i < call.outputs.size(); ++i) {
      tap.index = static_cast<uint32_t>(i);
      tap.value = call.outputs[i];
      found.push_back({uint64_t{call.end} * 2 - 1, tap});
    }
  }
  for (const FunctionalTap& functional : graph.taps) {
    const Call& call = graph.calls[functional.call];
    const std::string path = call.path + "/" + functional.name;
    if (!glob_match(pattern, path)) continue;
    found.push_back(
        {uint64_t{functional.value.node} * 2 + 1,
         {path, call.class_name, Tap::Role::kOutput, {}, 0, call.index, functional.value}});
  }
  // Inner calls end where outer ones do: equal places keep the innermost first.
  std::stable_sort(found.begin(), found.end(), [](const Ordered& a, const Ordered& b) {
    if (a.at != b.at) return a.at < b.at;
    return a.tap.role == Tap::Role::kOutput && b.tap.role == Tap::Role::kOutput &&
           a.tap.path.size() > b.tap.path.size();
  });
  std::vector<Tap> taps;
  taps.reserve(found.size());
  for (Ordered& entry : found) taps.push_back(std::move(entry.tap));
  return taps;
}

}  // namespace lockstep
