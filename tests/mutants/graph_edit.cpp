#include "graph_edit.h"

#include <algorithm>
#include <deque>
#include <mutex>
#include <numeric>

#include "lockstep/error.h"
#include "tensor/tensor.h"

namespace lockstep::mutants {
namespace {

// A node's own op, and what it computes instead. Never forgotten: graphs point here.
struct Planted {
  OpDef op;
  const OpDef* sound;
  Wrong wrong;
};

std::deque<Planted>& all_planted() {
  static std::deque<Planted> all;
  return all;
}

std::mutex& planted_mutex() {
  static std::mutex mutex;
  return mutex;
}

// The attribute says nothing: a number.
constexpr const char* kAttr = "kernel";

const Planted& planted_of(const OpCall& call) {
  const std::lock_guard lock(planted_mutex());
  return all_planted()[static_cast<size_t>(call.attrs.get_int(kAttr))];
}

void run_planted(const OpCall& call) {
  const Planted& planted = planted_of(call);
  planted.wrong(call, planted.sound->run);
}

}  // namespace

std::vector<double> read_elements(const View& view) {
  const Tensor dense = Tensor::copy_of(view);
  std::vector<double> values(static_cast<size_t>(view.elements()));
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = load_element(dense.view().data, view.dtype, static_cast<int64_t>(i));
  }
  return values;
}

void write_elements(const View& view, const std::vector<double>& values) {
  for (size_t i = 0; i < values.size(); ++i) {
    const auto x = static_cast<float>(values[i]);
    switch (view.dtype) {
      case DType::kFloat32:
        view.as<float>()[i] = x;
        break;
      case DType::kBFloat16:
        view.as<uint16_t>()[i] = float_to_bfloat16(x);
        break;
      case DType::kFloat16:
        view.as<uint16_t>()[i] = float_to_float16(x);
        break;
      case DType::kInt32:
        view.as<int32_t>()[i] = static_cast<int32_t>(values[i]);
        break;
      default:
        throw Error(ErrorCode::kInternal, "planted node: no such type");
    }
  }
}

GraphEdit::GraphEdit(Graph& graph)
    : graph_(graph), n_traced_(static_cast<uint32_t>(graph.nodes.size())), places_(n_traced_) {
  std::iota(places_.begin(), places_.end(), 0.0);
}

void GraphEdit::set(uint32_t n, const char* attr, Attrs::Value value) {
  graph_.nodes[n].attrs.set(attr, std::move(value));
  mark(n);
}

void GraphEdit::rewire(uint32_t n, size_t i, ValueId to) {
  const ValueId from = graph_.nodes[n].inputs[i];
  graph_.nodes[n].inputs[i] = to;
  mark(n);
  if (graph_.nodes[n].call == kNoCall) return;
  Call& call = graph_.calls[graph_.nodes[n].call];
  for (uint32_t other = call.begin; other < call.end; ++other) {
    const std::vector<ValueId>& inputs = graph_.nodes[other].inputs;
    if (std::ranges::find(inputs, from) != inputs.end()) return;
  }
  for (Call::Argument& argument : call.inputs) {
    if (argument.value != from) continue;
    argument.value = to;
    faults_.back().renamed.insert(call.path + ":input");
  }
}

void GraphEdit::drop_input(uint32_t n, size_t i) {
  graph_.nodes[n].inputs.erase(graph_.nodes[n].inputs.begin() + static_cast<ptrdiff_t>(i));
  mark(n);
}

void GraphEdit::add_input(uint32_t n, ValueId value) {
  graph_.nodes[n].inputs.push_back(value);
  mark(n);
}

void GraphEdit::replace(ValueId from, ValueId to, std::optional<uint32_t> but) {
  for (uint32_t n = 0; n < graph_.nodes.size(); ++n) {
    if (n == but) continue;
    for (ValueId& input : graph_.nodes[n].inputs) {
      if (input != from) continue;
      input = to;
      // A value that was there before is what its reader should not have; a new node is changed.
      if (to.node < n_traced_) mark(n);
    }
  }
  const auto rename = [&](ValueId& v, const std::string& name) {
    if (v != from) return;
    v = to;
    faults_.back().renamed.insert(name);
  };
  for (Call& call : graph_.calls) {
    for (Call::Argument& argument : call.inputs) rename(argument.value, call.path + ":input");
    for (ValueId& output : call.outputs) rename(output, call.path);
  }
  for (FunctionalTap& tap : graph_.taps) {
    rename(tap.value, graph_.calls[tap.call].path + "/" + tap.name);
  }
  for (GraphOutput& output : graph_.outputs) {
    if (output.value == from) output.value = to;
  }
}

double GraphEdit::place_behind(uint32_t n) const {
  double next = places_[n] + 1;
  for (const double place : places_) {
    if (place > places_[n]) next = std::min(next, place);
  }
  return (places_[n] + next) / 2;
}

double GraphEdit::place_before(uint32_t n) const {
  double previous = places_[n] - 1;
  for (const double place : places_) {
    if (place < places_[n]) previous = std::max(previous, place);
  }
  return (places_[n] + previous) / 2;
}

uint32_t GraphEdit::append(Node node, double place) {
  const auto id = static_cast<uint32_t>(graph_.nodes.size());
  graph_.nodes.push_back(std::move(node));
  places_.push_back(place);
  mark(id);
  return id;
}

void GraphEdit::wrap(uint32_t n, Wrong wrong) {
  Node& node = graph_.nodes[n];
  if (node.attrs.has(kAttr)) {
    has_conflict_ = true;
    return;
  }
  const std::lock_guard lock(planted_mutex());
  Planted& planted = all_planted().emplace_back();
  planted.sound = node.op;
  planted.op = *node.op;
  planted.op.run = run_planted;
  planted.wrong = std::move(wrong);
  node.attrs.set(kAttr, static_cast<int64_t>(all_planted().size()) - 1);
  node.op = &planted.op;
  mark(n);
}

void GraphEdit::change_input(uint32_t n, size_t i, Change change) {
  wrap(n, [i, change = std::move(change)](const OpCall& call, void (*sound)(const OpCall&)) {
    std::vector<View> inputs(call.inputs.begin(), call.inputs.end());
    std::vector<double> values = read_elements(inputs[i]);
    change(values, inputs[i]);
    const Tensor copy = Tensor::copy_of(inputs[i]);
    write_elements(copy.view(), values);
    inputs[i] = copy.view();
    sound({inputs, call.outputs, call.attrs, call.context});
  });
}

void GraphEdit::change_output(uint32_t n, Change change, size_t output) {
  wrap(n, [output, change = std::move(change)](const OpCall& call, void (*sound)(const OpCall&)) {
    sound(call);
    std::vector<double> values = read_elements(call.outputs[output]);
    change(values, call.outputs[output]);
    write_elements(call.outputs[output], values);
  });
}

void GraphEdit::change_state(uint32_t n, size_t i, Change change) {
  wrap(n, [i, change = std::move(change)](const OpCall& call, void (*sound)(const OpCall&)) {
    if (call.inputs[0].dim(0) == 1) {
      std::vector<double> values = read_elements(call.inputs[i]);
      change(values, call.inputs[i]);
      write_elements(call.inputs[i], values);
    }
    sound(call);
  });
}

uint32_t GraphEdit::clone(uint32_t n) { return append(graph_.nodes[n], place_behind(n)); }

uint32_t GraphEdit::add_op(uint32_t before, const char* op, std::vector<ValueId> inputs,
                           const Attrs& attrs) {
  Node node;
  node.op = find_op(op);
  node.attrs = attrs;
  std::vector<TensorType> types;
  for (const ValueId& input : inputs) types.push_back(graph_.type(input));
  node.inputs = std::move(inputs);
  node.outputs = node.op->infer({types, attrs, graph_.activation_dtype});
  node.call = graph_.nodes[before].call;
  return append(std::move(node), place_before(before));
}

const Parameter* GraphEdit::parameter_of(uint32_t n, size_t i) const {
  if (i >= graph_.nodes[n].inputs.size()) return nullptr;
  const uint32_t from = graph_.nodes[n].inputs[i].node;
  const auto at = std::ranges::find(graph_.parameters, from, &Parameter::node);
  return at == graph_.parameters.end() ? nullptr : &*at;
}

void GraphEdit::load(uint32_t n, size_t i, std::vector<StoredPart> parts) {
  Parameter* parameter = const_cast<Parameter*>(parameter_of(n, i));
  parameter->parts = std::move(parts);
  parameter->stored.clear();
  mark(n);
}

void GraphEdit::move_calls(const std::vector<uint32_t>& to) {
  for (uint32_t c = 0; c < graph_.calls.size(); ++c) {
    Call& call = graph_.calls[c];
    const bool is_empty = call.begin == call.end;
    const auto size = static_cast<uint32_t>(graph_.nodes.size());
    uint32_t begin = call.begin < n_traced_ ? to[call.begin] : size;
    uint32_t end = is_empty ? begin : to[call.end - 1] + 1;
    for (uint32_t n = n_traced_; n < size; ++n) {
      uint32_t inside = graph_.nodes[n].call;
      while (inside != kNoCall && inside != c) inside = graph_.calls[inside].parent;
      if (inside != c) continue;
      begin = std::min(begin, to[n]);
      end = std::max(end, to[n] + 1);
    }
    call.begin = begin;
    call.end = end;
  }
}

void GraphEdit::finish() {
  std::vector<uint32_t> order(graph_.nodes.size()), to(graph_.nodes.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, {}, [&](uint32_t n) { return places_[n]; });
  for (uint32_t i = 0; i < order.size(); ++i) to[order[i]] = i;
  move_calls(to);
  std::vector<Node> nodes;
  nodes.reserve(order.size());
  for (const uint32_t n : order) nodes.push_back(std::move(graph_.nodes[n]));
  graph_.nodes = std::move(nodes);
  const auto move = [&](ValueId& v) { v.node = to[v.node]; };
  for (Node& node : graph_.nodes) std::ranges::for_each(node.inputs, move);
  for (Call& call : graph_.calls) {
    for (Call::Argument& argument : call.inputs) move(argument.value);
    std::ranges::for_each(call.outputs, move);
  }
  for (FunctionalTap& tap : graph_.taps) move(tap.value);
  for (GraphOutput& output : graph_.outputs) move(output.value);
  for (Parameter& parameter : graph_.parameters) parameter.node = to[parameter.node];
  for (CacheInput& cache : graph_.caches) cache.node = to[cache.node];
  for (PlantedFault& fault : faults_) {
    std::set<uint32_t> changed;
    for (const uint32_t n : fault.changed) changed.insert(to[n]);
    fault.changed = std::move(changed);
  }
}

}  // namespace lockstep::mutants
