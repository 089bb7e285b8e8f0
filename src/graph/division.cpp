#include "graph/division.h"

#include <fmt/format.h>

#include <algorithm>

namespace lockstep {

Division::Division(const Graph& graph, int n_ranks)
    : graph_(graph), n_ranks_(n_ranks), caches_(graph.nodes.size()), live_(graph.nodes.size()) {
  for (const CacheInput& cache : graph.caches) caches_[cache.node] = true;
  for (const GraphOutput& output : graph.outputs) live_[output.value.node] = true;
  for (auto n = static_cast<uint32_t>(graph.nodes.size()); n-- > 0;) {
    const Node& node = graph.nodes[n];
    if (node.kind != NodeKind::kOp) continue;
    if (node.op->mutated_inputs != 0) live_[n] = true;
    if (!live_[n]) continue;
    for (const ValueId& input : node.inputs) {
      live_[input.node] = true;
      readers_[input].push_back(n);
    }
  }
  if (n_ranks_ == 1) return;
  divide_anchors();
  divide_in_order();
  divide_logits();
}

const Division::Divided* Division::of(uint32_t node) const {
  const auto at = nodes_.find(node);
  return at == nodes_.end() ? nullptr : &at->second;
}

Layout Division::layout(ValueId v) const {
  const auto at = layouts_.find(v);
  return at == layouts_.end() ? Layout{} : at->second;
}

bool Division::is_part(const AxisDim& dim, int64_t n_units, int64_t size) {
  return dim.kind == AxisDim::Kind::kSplit && n_units * dim.num / dim.den != size;
}

Layout Division::wanted(uint32_t node, size_t i) const {
  const Divided& divided = nodes_.at(node);
  const AxisDim& dim = divided.axis.inputs[i];
  if (dim.kind != AxisDim::Kind::kSplit) return {};
  const ValueId v = graph_.nodes[node].inputs[i];
  const int64_t size = dim_size(v, dim.dim);
  if (is_part(dim, divided.axis.n_units, size)) return layout(v);
  return layout_of(dim, divided.units, size);
}

std::vector<ShardAxis> Division::axes(uint32_t n) const {
  const Node& node = graph_.nodes[n];
  if (node.op->axes == nullptr) return {};
  std::vector<TensorType> inputs;
  for (const ValueId& input : node.inputs) inputs.push_back(graph_.type(input));
  return node.op->axes({inputs, node.outputs, node.attrs});
}

// Units that share an element of some input (query heads of one key head) stay together; where
// there are fewer such groups than ranks, each rank lies within one.
std::optional<Spread> Division::split_units(const ShardAxis& axis) const {
  int64_t group = 1;
  for (const AxisDim& dim : axis.inputs) group = std::max(group, dim.den);
  if (std::optional<Spread> units = split_evenly(axis.n_units, group, n_ranks_)) return units;
  std::optional<Spread> units = split_evenly(axis.n_units, 1, n_ranks_);
  if (!units) return std::nullopt;
  for (const std::vector<Range>& ranges : *units) {
    const Range& range = ranges.front();
    if (range.begin / group != (range.end - 1) / group) return std::nullopt;
  }
  return units;
}

int Division::n_uses(ValueId v) const {
  const auto readers = readers_.find(v);
  size_t n = readers == readers_.end() ? 0 : readers->second.size();
  for (const GraphOutput& output : graph_.outputs) n += output.value == v;
  return static_cast<int>(n);
}

void Division::demand(Draft& draft, ValueId v, const Layout& layout) const {
  if (layout.is_whole() || layouts_.contains(v) || draft.layouts.contains(v)) return;
  const Node& node = graph_.node(v);
  if (node.kind == NodeKind::kParameter) {
    draft.reads_weights = true;
    return;
  }
  if (node.kind == NodeKind::kInput) {
    if (is_cache(v.node)) draft.layouts[v] = layout;
    return;
  }
  if (nodes_.contains(v.node) || draft.nodes.contains(v.node)) return;
  const bool has_weights = std::ranges::any_of(node.inputs, [&](const ValueId& input) {
    return graph_.node(input).kind == NodeKind::kParameter;
  });
  if (draft.sole_uses && !has_weights && n_uses(v) > 1) return;
  for (const ShardAxis& axis : axes(v.node)) {
    if (axis.is_sum) continue;
    const auto units = units_of(axis.outputs[v.output], layout, axis.n_units);
    if (!units) continue;
    divide(draft, v.node, axis, *units);
    return;
  }
}

void Division::lay_outputs(uint32_t n, const Divided& divided,
                           std::map<ValueId, Layout>& layouts) const {
  const auto& [axis, units] = divided;
  for (uint32_t i = 0; i < graph_.nodes[n].outputs.size() && !axis.is_sum; ++i) {
    const ValueId v{n, i};
    const Layout lies = layout_of(axis.outputs[i], units, dim_size(v, axis.outputs[i].dim));
    if (!lies.is_whole()) layouts[v] = lies;
  }
}

void Division::divide(Draft& draft, uint32_t n, const ShardAxis& axis, const Spread& units) const {
  const Node& node = graph_.nodes[n];
  draft.nodes[n] = {axis, units};
  lay_outputs(n, draft.nodes[n], draft.layouts);
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const AxisDim& dim = axis.inputs[i];
    if (dim.kind != AxisDim::Kind::kSplit) continue;
    const int64_t size = dim_size(node.inputs[i], dim.dim);
    const Layout want = layout_of(dim, units, size);
    if (is_part(dim, axis.n_units, size)) {
      draft.parts[node.inputs[i]][n] = want;
    } else {
      demand(draft, node.inputs[i], want);
    }
  }
}

// How `v` must lie for all that read parts of it: what they want, and all of what others read.
std::optional<Layout> Division::joined_parts(ValueId v,
                                             const std::map<uint32_t, Layout>& parts) const {
  Layout joined;
  joined.ranges.resize(static_cast<size_t>(n_ranks_));
  const auto add = [&](const Layout& part) {
    if (joined.dim >= 0 && joined.dim != part.dim) return false;
    joined.dim = part.dim;
    for (size_t rank = 0; rank < joined.ranges.size(); ++rank) {
      joined.ranges[rank].insert(joined.ranges[rank].end(), part.ranges[rank].begin(),
                                 part.ranges[rank].end());
    }
    return true;
  };
  for (const auto& [reader, part] : parts) {
    if (!add(part)) return std::nullopt;
  }
  const auto readers = readers_.find(v);
  if (readers == readers_.end()) return std::nullopt;
  for (const uint32_t reader : readers->second) {
    if (parts.contains(reader)) continue;
    std::optional<Layout> all;
    for (const ShardAxis& axis : axes(reader)) {
      const AxisDim& dim = axis.inputs[0];
      if (!is_part(dim, axis.n_units, dim_size(v, dim.dim))) continue;
      all = layout_of(dim, Spread(static_cast<size_t>(n_ranks_), {{0, axis.n_units}}),
                      dim_size(v, dim.dim));
    }
    if (!all || !add(*all)) return std::nullopt;
  }
  joined.ranges = normalised(std::move(joined.ranges));
  const std::vector<Range> whole = {{0, dim_size(v, joined.dim)}};
  const bool is_whole = std::ranges::all_of(
      joined.ranges, [&](const std::vector<Range>& ranges) { return ranges == whole; });
  return is_whole ? std::nullopt : std::optional(joined);
}

void Division::resolve_parts(Draft& draft) const {
  while (!draft.parts.empty()) {
    // The last value first: those that read it are then all known.
    const auto last = std::prev(draft.parts.end());
    const ValueId v = last->first;
    const std::map<uint32_t, Layout> parts = std::move(last->second);
    draft.parts.erase(last);
    if (const std::optional<Layout> joined = joined_parts(v, parts)) demand(draft, v, *joined);
    if (draft.layouts.contains(v)) continue;
    // Its readers run whole; what reads them narrows.
    for (const auto& [reader, part] : parts) {
      draft.nodes.erase(reader);
      draft.layouts.erase({reader, 0});
    }
  }
}

void Division::commit(Draft draft) {
  nodes_.merge(draft.nodes);
  layouts_.merge(draft.layouts);
}

void Division::divide_anchors() {
  for (uint32_t n = 0; n < graph_.nodes.size(); ++n) {
    if (graph_.nodes[n].kind != NodeKind::kOp) continue;
    for (const ShardAxis& axis : axes(n)) {
      if (!axis.is_anchor || nodes_.contains(n)) continue;
      const std::optional<Spread> units = split_units(axis);
      if (!units) {
        const uint32_t call = graph_.nodes[n].call;
        notices_.push_back(fmt::format(
            "{}: {} heads do not divide among {} ranks: every rank computes all of them",
            call == kNoCall ? graph_.architecture : graph_.calls[call].path, axis.n_units,
            n_ranks_));
        continue;
      }
      Draft draft;
      divide(draft, n, axis, *units);
      resolve_parts(draft);
      commit(std::move(draft));
    }
  }
}

void Division::divide_in_order() {
  for (uint32_t n = 0; n < graph_.nodes.size(); ++n) {
    if (graph_.nodes[n].kind != NodeKind::kOp || nodes_.contains(n)) continue;
    if (!follow_inputs(n) && !divide_by_rows(n)) divide_sum(n);
  }
}

bool Division::follow_inputs(uint32_t n) {
  const Node& node = graph_.nodes[n];
  const auto is_divided = [&](const ValueId& v) { return layouts_.contains(v); };
  if (std::ranges::none_of(node.inputs, is_divided)) return false;
  for (const ShardAxis& axis : axes(n)) {
    std::optional<Spread> units;
    bool fits = true;
    for (size_t i = 0; fits && i < node.inputs.size(); ++i) {
      if (!is_divided(node.inputs[i])) continue;
      const auto own = units_of(axis.inputs[i], layouts_.at(node.inputs[i]), axis.n_units);
      fits = own && (!units || *units == *own);
      units = own;
    }
    if (!fits) continue;
    // Inputs lie as they do, but for caches, which no op made.
    nodes_[n] = {axis, *units};
    lay_outputs(n, nodes_[n], layouts_);
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const ValueId v = node.inputs[i];
      if (!is_cache(v.node) || axis.inputs[i].kind != AxisDim::Kind::kSplit) continue;
      layouts_.insert({v, wanted(n, i)});
    }
    return true;
  }
  return false;
}

bool Division::divide_by_rows(uint32_t n) {
  const Node& node = graph_.nodes[n];
  for (const ShardAxis& axis : axes(n)) {
    if (!axis.is_sum || axis.inputs[0].kind != AxisDim::Kind::kSplit) continue;
    const std::optional<Spread> units = split_evenly(axis.n_units, 1, n_ranks_);
    if (!units) continue;
    Draft draft;
    draft.sole_uses = true;
    const ValueId x = node.inputs[0];
    demand(draft, x, layout_of(axis.inputs[0], *units, axis.n_units));
    resolve_parts(draft);
    if (!draft.layouts.contains(x) || !draft.reads_weights) continue;
    draft.nodes[n] = {axis, *units};
    commit(std::move(draft));
    return true;
  }
  return false;
}

bool Division::divide_sum(uint32_t n) {
  for (const ShardAxis& axis : axes(n)) {
    if (!axis.is_sum || axis.inputs[0].kind == AxisDim::Kind::kSplit) continue;
    const std::optional<Spread> units = split_evenly(axis.n_units, 1, n_ranks_);
    if (!units) continue;
    nodes_[n] = {axis, *units};
    return true;
  }
  return false;
}

void Division::divide_logits() {
  for (const GraphOutput& output : graph_.outputs) {
    const Shape& shape = graph_.type(output.value).shape;
    const std::optional<Spread> units = split_evenly(shape[-1].count, 1, n_ranks_);
    if (!shape[-1].is_static() || !units) continue;
    Draft draft;
    draft.sole_uses = true;
    demand(draft, output.value, Layout{shape.rank() - 1, *units});
    resolve_parts(draft);
    if (draft.reads_weights) commit(std::move(draft));
  }
}

}  // namespace lockstep
