#include "parity/split_values.h"

#include <algorithm>
#include <map>

#include "parity/isolate.h"
#include "parity/replay_values.h"

namespace lockstep::parity {
namespace {

// Names of one value to which the reference gives the same numbers.
struct Alias {
  const Tap* recorded;
  std::vector<lockstep::Tap> taps;
};

constexpr const char* kLogits = "logits";

using Recorded = std::map<std::string, const Tap*>;

Recorded recorded_taps(const Run& run, const std::set<std::string>& misfits) {
  Recorded recorded;
  std::set<std::string> repeated;
  for (const Tap& tap : run.taps) {
    if (tap.info.call > 0) repeated.insert(tap.info.path);
  }
  for (const Tap& tap : run.taps) {
    const std::string key = tap_key(tap.info);
    if (!repeated.contains(tap.info.path) && !misfits.contains(key)) recorded.emplace(key, &tap);
  }
  return recorded;
}

void add_name(std::vector<Alias>& aliases, const lockstep::Tap& tap, const Tap& recorded,
              const std::string& dtype) {
  const auto same = std::ranges::find_if(aliases, [&](const Alias& alias) {
    return alias.recorded == &recorded || is_same_value(recorded.view, alias.recorded->view, dtype);
  });
  if (same == aliases.end()) {
    aliases.push_back({&recorded, {tap}});
  } else {
    same->taps.push_back(tap);
  }
}

// Of one run: per value, its names by what the reference recorded, the first ones first.
std::map<ValueId, std::vector<Alias>> names_by_content(const Graph& graph, const Run& run,
                                                       const std::set<std::string>& misfits) {
  const Recorded recorded = recorded_taps(run, misfits);
  std::map<ValueId, std::vector<Alias>> names;
  for (const lockstep::Tap& tap : list_taps(graph, "*", TapInputs::kYes)) {
    const auto at = recorded.find(tap_key(tap_info(tap)));
    if (at == recorded.end() || graph.node(tap.value).kind != NodeKind::kOp) continue;
    add_name(names[tap.value], tap, *at->second, run.info.dtype);
  }
  // The logits come out of no module.
  if (run.logits && run.first_logit_row == 0) {
    lockstep::Tap tap;
    tap.path = kLogits;
    tap.value = graph.outputs.front().value;
    add_name(names[tap.value], tap, *run.logits, run.info.dtype);
  }
  std::erase_if(names, [](const auto& entry) { return entry.second.size() < 2; });
  return names;
}

bool has_fixed_rows(const TensorType& type) {
  const auto dims = type.shape.dims();
  return dims.size() > 1 &&
         std::all_of(dims.begin() + 1, dims.end(), [](const Dim& dim) { return dim.is_static(); });
}

Node alias_of(const Graph& graph, ValueId value) {
  const auto dims = graph.type(value).shape.dims();
  std::vector<int64_t> tail;
  for (const Dim& dim : dims.subspan(1)) tail.push_back(dim.count);
  Node node;
  node.op = find_op("reshape");
  node.attrs.set("tail", std::move(tail));
  node.inputs = {value};
  node.outputs = {graph.type(value)};
  node.call = graph.node(value).call;
  return node;
}

uint32_t call_of(const Graph& graph, const lockstep::Tap& tap) {
  const std::string path = tap.path.substr(0, tap.path.find('/'));
  return graph.find_call(path, tap.call).value_or(kNoCall);
}

// A graph with nodes put behind others, all ids moved along.
class Splitting {
 public:
  explicit Splitting(const Graph& from) : from_(from) { split_.graph = from; }

  void add(ValueId value, const Alias& alias) { added_.push_back({value, &alias}); }

  SplitGraph finish() {
    insert_nodes();
    move_ids();
    for (const auto& [value, alias, id] : placed_) hand_over(value, *alias, id);
    return std::move(split_);
  }

 private:
  struct Added {
    ValueId value;
    const Alias* alias;
  };
  struct Placed {
    ValueId value;  // as it was
    const Alias* alias;
    uint32_t id;
  };

  void insert_nodes() {
    std::vector<Node> nodes;
    moved_.resize(from_.nodes.size() + 1);
    for (uint32_t n = 0; n < from_.nodes.size(); ++n) {
      moved_[n] = static_cast<uint32_t>(nodes.size());
      nodes.push_back(from_.nodes[n]);
      split_.origin.push_back({n, 0});
      for (const Added& added : added_) {
        if (added.value.node != n) continue;
        placed_.push_back({added.value, added.alias, static_cast<uint32_t>(nodes.size())});
        nodes.push_back(alias_of(from_, added.value));
        split_.origin.push_back(added.value);
      }
    }
    moved_.back() = static_cast<uint32_t>(nodes.size());
    split_.graph.nodes = std::move(nodes);
  }

  void move_ids() {
    Graph& graph = split_.graph;
    const auto move = [&](ValueId& v) { v.node = moved_[v.node]; };
    for (Node& node : graph.nodes) std::ranges::for_each(node.inputs, move);
    for (Call& call : graph.calls) {
      // Aliases behind a call's last node are no part of it.
      call.end = call.end == call.begin ? moved_[call.begin] : moved_[call.end - 1] + 1;
      call.begin = moved_[call.begin];
      for (Call::Argument& argument : call.inputs) move(argument.value);
      std::ranges::for_each(call.outputs, move);
    }
    for (FunctionalTap& tap : graph.taps) move(tap.value);
    for (GraphOutput& output : graph.outputs) move(output.value);
    for (Parameter& parameter : graph.parameters) parameter.node = moved_[parameter.node];
    for (CacheInput& cache : graph.caches) cache.node = moved_[cache.node];
  }

  // The alias's names take it, and what is inside the calls that it goes into reads it.
  void hand_over(ValueId old, const Alias& alias, uint32_t id) {
    Graph& graph = split_.graph;
    const ValueId from{moved_[old.node], old.output}, to{id, 0};
    for (const lockstep::Tap& tap : alias.taps) {
      if (tap.path == kLogits) graph.outputs.front().value = to;
      const uint32_t c = call_of(from_, tap);
      if (c == kNoCall) continue;
      if (tap.path.find('/') != std::string::npos) {
        for (FunctionalTap& functional : graph.taps) {
          const bool is_it = functional.call == c && functional.value == from &&
                             tap.path.ends_with("/" + functional.name);
          if (is_it) functional.value = to;
        }
      } else if (tap.role == lockstep::Tap::Role::kOutput) {
        graph.calls[c].outputs[tap.index] = to;
      } else {
        graph.calls[c].inputs[tap.index].value = to;
        // Of two arguments that are one value only the calls inside tell who reads which.
        const auto n_alike = std::ranges::count(from_.calls[c].inputs, old, &Call::Argument::value);
        if (n_alike == 1) read_inside(graph.calls[c], from, to);
      }
    }
  }

  void read_inside(const Call& call, ValueId from, ValueId to) {
    for (uint32_t n = call.begin; n < call.end; ++n) {
      Node& node = split_.graph.nodes[n];
      if (n != to.node) std::ranges::replace(node.inputs, from, to);
    }
  }

  const Graph& from_;
  SplitGraph split_;
  std::vector<Added> added_;
  std::vector<Placed> placed_;
  std::vector<uint32_t> moved_;
};

}  // namespace

TapInfo tap_info(const lockstep::Tap& tap) {
  TapInfo info;
  info.path = tap.path;
  info.role = tap.role == lockstep::Tap::Role::kInput ? TapRole::kInput : TapRole::kOutput;
  info.index = static_cast<int>(tap.index);
  info.call = static_cast<int>(tap.call);
  return info;
}

bool is_same_value(const View& a, const View& b, const std::string& dtype) {
  if (a.elements() != b.elements()) return false;
  if (a.data == b.data) return true;
  return difference(a, b) <= isolation_bar(dtype, 1, 0);
}

SplitGraph split_values(const Graph& graph, const Recording& reference, const std::string& dtype,
                        const std::set<std::string>& misfits) {
  // The run that tells most values apart; a single token may tell fewer.
  std::map<ValueId, std::vector<Alias>> names;
  for (const Run& run : reference.runs) {
    if (run.info.dtype != dtype) continue;
    for (auto& [value, aliases] : names_by_content(graph, run, misfits)) {
      std::vector<Alias>& known = names[value];
      if (aliases.size() > known.size()) known = std::move(aliases);
    }
  }
  Splitting splitting(graph);
  for (const auto& [value, aliases] : names) {
    if (!has_fixed_rows(graph.type(value))) continue;
    for (size_t i = 1; i < aliases.size(); ++i) splitting.add(value, aliases[i]);
  }
  return splitting.finish();
}

}  // namespace lockstep::parity
