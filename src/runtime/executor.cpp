#include "runtime/executor.h"

#include <fmt/format.h>

#include <algorithm>

#include "lockstep/error.h"

namespace lockstep {
namespace {

constexpr const char* kSymbolNames[kNumSymbols] = {
    "one",        "tokens",      "sequences", "sequence offsets", "logit rows",
    "step pages", "cache pages", "page size", "state slots"};

std::string call_path(const Graph& graph, const Node& node) {
  if (node.call == kNoCall || graph.calls[node.call].path.empty()) return graph.architecture;
  return graph.calls[node.call].path;
}

}  // namespace

Executor::Executor(const Graph& graph, std::vector<View> parameters, const SymbolValues& most)
    : graph_(graph), most_(most) {
  first_.reserve(graph.nodes.size());
  uint32_t n_views = 0;
  for (const Node& node : graph.nodes) {
    if (node.kind == NodeKind::kInput) {
      inputs_.emplace(node.name, static_cast<uint32_t>(first_.size()));
    }
    first_.push_back(n_views);
    n_views += static_cast<uint32_t>(node.outputs.size());
  }
  views_.resize(n_views);
  observed_.resize(n_views);
  for (size_t i = 0; i < graph.parameters.size(); ++i) {
    views_[first_[graph.parameters[i].node]] = parameters[i];
  }
  const Plan plan = plan_memory(graph, most);
  arena_bytes_ = plan.arena_bytes;
  arena_ = Tensor(DType::kUint8, {static_cast<int64_t>(std::max<uint64_t>(1, arena_bytes_))});
  for (const auto& [value, offset] : plan.offsets) {
    view(value).data = arena_.data<uint8_t>() + offset;
  }
  mark_needed();
  for (size_t i = 0; i < graph.outputs.size(); ++i) {
    const ValueId storage = graph.storage(graph.outputs[i].value);
    if (graph.node(storage).kind != NodeKind::kOp || view(storage).data != nullptr) continue;
    const TensorType& type = graph.type(storage);
    outputs_.emplace_back(type.dtype, std::initializer_list<int64_t>{type.shape.elements(most)});
    view(storage).data = outputs_.back().view().data;
  }
}

void Executor::mark_needed() {
  needed_.assign(graph_.nodes.size(), false);
  for (const GraphOutput& output : graph_.outputs) needed_[output.value.node] = true;
  for (uint32_t n = static_cast<uint32_t>(graph_.nodes.size()); n-- > 0;) {
    const Node& node = graph_.nodes[n];
    if (node.kind != NodeKind::kOp) continue;
    bool needed = needed_[n] || node.op->mutated_inputs != 0;
    for (uint32_t i = 0; i < node.outputs.size(); ++i) needed |= observed_[first_[n] + i];
    needed_[n] = needed;
    if (!needed) continue;
    for (const ValueId& input : node.inputs) needed_[input.node] = true;
  }
}

void Executor::bind_input(std::string_view name, const View& bound) {
  const auto input = inputs_.find(name);
  if (input == inputs_.end()) {
    throw Error(ErrorCode::kNotFound, fmt::format("the graph has no input {}", name));
  }
  views_[first_[input->second]] = bound;
}

void Executor::bind_output(size_t i, void* data) {
  view(graph_.storage(graph_.outputs[i].value)).data = data;
}

void Executor::observe(const std::vector<ValueId>& values, Observe observe) {
  std::fill(observed_.begin(), observed_.end(), false);
  for (const ValueId& value : values) observed_[first_[value.node] + value.output] = true;
  mark_needed();
  observing_ = !values.empty();
  observe_ = std::move(observe);
}

void Executor::shape_view(View& view, const TensorType& type, const SymbolValues& now) const {
  view.dtype = type.dtype;
  view.rank = type.shape.rank();
  int64_t stride = 1;
  for (int i = view.rank - 1; i >= 0; --i) {
    const Dim& dim = type.shape[i];
    view.shape[i] = dim.count * now[static_cast<size_t>(dim.symbol)];
    view.stride[i] = stride;
    stride *= view.shape[i];
  }
}

void Executor::check_inputs(const SymbolValues& now) const {
  for (int s = 0; s < kNumSymbols; ++s) {
    if (now[s] < 0 || now[s] > most_[s]) {
      throw Error(ErrorCode::kOutOfRange,
                  fmt::format("{}: expected 0 to {}, found {}", kSymbolNames[s], most_[s], now[s]));
    }
  }
  for (const auto& [name, n] : inputs_) {
    const View& bound = views_[first_[n]];
    View expected;
    shape_view(expected, graph_.nodes[n].outputs[0], now);
    const bool fits =
        bound.dtype == expected.dtype && bound.rank == expected.rank &&
        std::equal(bound.shape.begin(), bound.shape.begin() + bound.rank, expected.shape.begin());
    if (bound.data == nullptr || !fits) {
      throw Error(ErrorCode::kFailedPrecondition,
                  fmt::format("input {}: expected {}, found {}", name, to_string(expected),
                              bound.data == nullptr ? "nothing bound" : to_string(bound)));
    }
  }
}

void Executor::run_node(uint32_t n, const SymbolValues& now, RunContext& context) {
  const Node& node = graph_.nodes[n];
  input_views_.clear();
  for (const ValueId& input : node.inputs) input_views_.push_back(view(input));
  const uint32_t first = first_[n];
  for (uint32_t i = 0; i < node.outputs.size(); ++i) {
    shape_view(views_[first + i], node.outputs[i], now);
  }
  if (node.op->run == nullptr) {
    views_[first].data = input_views_[0].data;
    return;
  }
  output_views_.assign(views_.begin() + first, views_.begin() + first + node.outputs.size());
  try {
    node.op->run({input_views_, output_views_, node.attrs, context});
  } catch (const Error& error) {
    throw Error(error.code(), call_path(graph_, node) + ": " + error.message(), error.hint());
  }
}

void Executor::run(const SymbolValues& now, RunContext& context) {
  check_inputs(now);
  for (uint32_t n = 0; n < graph_.nodes.size(); ++n) {
    const Node& node = graph_.nodes[n];
    if (node.kind == NodeKind::kOp && !needed_[n]) continue;
    if (node.kind == NodeKind::kOp) run_node(n, now, context);
    if (!observing_) continue;
    for (uint32_t i = 0; i < node.outputs.size(); ++i) {
      if (observed_[first_[n] + i]) observe_({n, i}, views_[first_[n] + i]);
    }
  }
}

}  // namespace lockstep
