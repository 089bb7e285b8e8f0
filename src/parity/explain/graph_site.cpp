#include "parity/explain/graph_site.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "lockstep/error.h"
#include "parity/explain/edit.h"
#include "parity/explain/roles.h"
#include "parity/replay_values.h"

namespace lockstep::parity {
namespace {

bool has_exact(const Array& array, DType dtype) {
  if (dtype == DType::kFloat32) return true;
  if (dtype != DType::kBFloat16) return false;
  return std::ranges::all_of(array.values, [](double x) {
    const auto narrow = static_cast<float>(x);
    const uint16_t bits = float_to_bfloat16(narrow);
    return load_element(&bits, DType::kBFloat16, 0) == static_cast<double>(narrow);
  });
}

// As dtype (float32, bfloat16 or int32).
Tensor to_tensor(const Array& array, DType dtype) {
  const View view = make_view(array.values.data(), DType::kFloat64, array.shape);
  return convert(view, dtype, array.shape);
}

// A geometry from the first op that says it.
void read_heads(const Graph& graph, Geometry& geometry) {
  for (const Node& node : graph.nodes) {
    if (node.op == nullptr || node.op->name != "attention") continue;
    const Shape& q = graph.type(node.inputs[0]).shape;
    geometry.n_heads = q[1].count;
    geometry.head_dim = q[2].count;
    geometry.n_kv_heads = graph.type(node.inputs[1]).shape[1].count;
    return;
  }
}

int layer_of(std::string_view path) {
  for (size_t begin = 0; begin < path.size();) {
    const size_t end = std::min(path.find_first_of("./:", begin), path.size());
    const std::string_view part = path.substr(begin, end - begin);
    const bool is_number =
        !part.empty() && std::ranges::all_of(part, [](char c) { return c >= '0' && c <= '9'; });
    if (is_number && begin > 0) return std::stoi(std::string(part));
    begin = end + 1;
  }
  return -1;
}

}  // namespace

PortFacts::PortFacts(Pipeline& pipeline, const Recording& reference)
    : pipeline_(pipeline), config_({reference.config_json, pipeline.model().files.config.text()}) {
  read_geometry();
}

void PortFacts::read_geometry() {
  const auto first = [&](std::initializer_list<const char*> keys) -> int64_t {
    for (const char* key : keys) {
      if (const auto value = config_.number(key)) return static_cast<int64_t>(*value);
    }
    return 0;
  };
  geometry_.hidden = first({"hidden_size", "n_embd", "d_model"});
  geometry_.n_layers = first({"num_hidden_layers", "n_layer", "n_layers", "num_layers"});
  geometry_.vocabulary = first({"vocab_size"});
  geometry_.n_heads = first({"num_attention_heads", "n_head", "n_heads"});
  geometry_.n_kv_heads = first({"num_key_value_heads", "num_attention_heads", "n_head"});
  geometry_.head_dim = first({"head_dim"});
  geometry_.n_experts = first({"num_local_experts", "num_experts", "n_routed_experts"});
  geometry_.experts_per_token =
      first({"num_experts_per_tok", "num_experts_per_token", "moe_top_k"});
  read_heads(pipeline_.graph(), geometry_);
}

const Array* PortFacts::stored(const std::string& name) {
  const auto known = stored_.find(name);
  if (known != stored_.end()) return known->second.get();
  const Checkpoint& checkpoint = pipeline_.model().files.checkpoint;
  const TensorEntry* entry = checkpoint.find(name);
  if (entry == nullptr) return nullptr;
  auto array = std::make_unique<Array>(to_array(checkpoint.view(*entry)));
  return stored_.emplace(name, std::move(array)).first->second.get();
}

const Array* PortFacts::weight(const std::string& path) {
  const auto known = weights_.find(path);
  if (known != weights_.end()) return known->second.get();
  const std::vector<Parameter>& parameters = pipeline_.graph().parameters;
  const auto at = std::ranges::find(parameters, path, &Parameter::path);
  if (at == parameters.end()) return nullptr;
  const View& view = pipeline_.weights().views()[static_cast<size_t>(at - parameters.begin())];
  auto array = std::make_unique<Array>(to_array(view));
  return weights_.emplace(path, std::move(array)).first->second.get();
}

GraphSite::GraphSite(PortFacts& facts, RunReplay& replay, const RunReplay::Target& target,
                     const IsolatedTap& tap)
    : facts_(facts),
      replay_(replay),
      part_(cut(replay.graph(), target.value, replay.known())),
      caches_(replay.caches_before(part_)) {
  const RunInfo& info = replay.run().info;
  run = info.id;
  dtype = info.dtype;
  path = target.path;
  module_class = target.module_class;
  phase = info.phase;
  ids = info.prompt_ids;
  const View positions_view = replay.step_data().at("@positions").view();
  for (const double p : to_array(positions_view).values) {
    positions.push_back(static_cast<int64_t>(p));
  }
  geometry = facts.geometry();
  geometry.n_tokens = static_cast<int64_t>(positions.size());
  geometry.first_position = positions.empty() ? 0 : positions.front();
  geometry.layer = layer_of(path);
  for (const Tap& recorded : replay.run().taps) {
    const std::string name = recorded_name(recorded.info);
    if (recorded_.emplace(name, &recorded).second) tap_order_.push_back(name);
  }
  for (const ValueId& value : replay.known()) {
    known_by_name_.emplace(replay.name_of(value), value);
    names_of_inputs_.emplace(value_name(value), replay.name_of(value));
  }
  make_steps();
  if (steps.empty()) {
    for (const Node& node : part_.nodes) {
      const auto known = names_of_inputs_.find(node.name);
      if (known != names_of_inputs_.end()) handed_on = known->second;
    }
  }
  run_port();
  reference = reshaped(to_array(replay.recorded(target.value)), port.shape);
  bar = tap.bar;
  effect = difference(port, reference);
  run_sound();
}

void GraphSite::make_steps() {
  for (uint32_t n = 0; n < part_.nodes.size(); ++n) {
    const Node& node = part_.nodes[n];
    if (node.kind != NodeKind::kOp || node.op->run == nullptr) continue;
    SiteStep step;
    step.op = node.op->name;
    step.attrs = node.attrs;
    step.node = n;
    const std::vector<std::string> roles = roles_of(step.op, node.inputs.size());
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      step.operands.push_back(operand_of(node.inputs[i], roles[i]));
    }
    step_of_node_[n] = static_cast<int>(steps.size());
    steps.push_back(std::move(step));
  }
}

Operand GraphSite::operand_of(const ValueId& input, std::string role) const {
  Operand operand;
  operand.role = std::move(role);
  for (const Dim& dim : part_.type(input).shape.dims()) {
    operand.shape.push_back(dim.count * replay_.symbols()[static_cast<size_t>(dim.symbol)]);
  }
  const ValueId source = part_.storage(input);
  const Node& node = part_.node(source);
  operand.name = node.name;
  if (node.kind == NodeKind::kOp) {
    operand.kind = Operand::Kind::kStep;
    operand.step = step_of_node_.at(source.node);
    operand.output = source.output;
  } else if (node.kind == NodeKind::kParameter) {
    operand.kind = Operand::Kind::kWeight;
    const auto at = std::ranges::find(part_.parameters, source.node, &Parameter::node);
    if (at != part_.parameters.end()) operand.name = at->path;
  } else if (const auto known = names_of_inputs_.find(node.name); known != names_of_inputs_.end()) {
    operand.kind = Operand::Kind::kKnown;
    operand.name = known->second;
  } else {
    operand.kind = caches_.contains(node.name) ? Operand::Kind::kCache : Operand::Kind::kStepData;
  }
  return operand;
}

RunReplay::Feed GraphSite::own_feed() const {
  RunReplay::Feed feed;
  for (const auto& [name, tensor] : given_) {
    feed.inputs.emplace(name, Tensor::copy_of(tensor.view()));
  }
  return feed;
}

void GraphSite::run_port() {
  RunReplay::Feed feed = own_feed();
  for (const SiteStep& step : steps) {
    for (uint32_t i = 0; i < part_.nodes[step.node].outputs.size(); ++i) {
      feed.observed.push_back({step.node, i});
    }
  }
  feed.observe = [&](ValueId v, const View& view) {
    step_values_[{step_of_node_.at(v.node), v.output}] = to_array(view);
  };
  const Tensor found = replay_.execute(part_, copy_of_caches(), feed);
  is_ids = is_integer(found.view().dtype);
  port = to_array(found.view());
}

void GraphSite::run_sound() {
  const bool is_sound = std::ranges::all_of(part_.nodes, [](const Node& node) {
    return node.op == nullptr || node.op == find_op(node.op->name);
  });
  if (is_sound) return;
  Change change;
  change.chain = Change::Chain::kSound;
  const std::optional<Array> found = replay(change);
  if (found) sound_error_ = difference(*found, reference);
}

// An input node of its own, behind all others: nodes keep their indices.
void GraphSite::give(Graph& part, const GivenInput& given, RunReplay::Feed& feed) const {
  Node& reader = part.nodes.at(given.node);
  Node input;
  input.kind = NodeKind::kInput;
  input.name = fmt::format("given.{}.{}", given.node, given.input);
  const bool is_added = given.input >= reader.inputs.size();
  TensorType type;
  if (is_added) {
    type = {DType::kFloat32, Shape(given.values.shape)};
  } else {
    type = part.type(reader.inputs[given.input]);
    // Tables of another width are tables all the same.
    const bool is_wider = given.values.rank() == 2 && type.shape.rank() == 2 &&
                          type.shape[1].is_static() && given.values.dim(1) != type.shape[1].count;
    if (is_wider) type.shape[1] = Dim(given.values.dim(1));
  }
  const bool is_weight =
      !is_added && part.node(part.storage(reader.inputs[given.input])).kind == NodeKind::kParameter;
  if (is_weight && !has_exact(given.values, type.dtype)) type.dtype = DType::kFloat32;
  Array values = reshaped(given.values, replay_.shape_of(type));
  feed.inputs.emplace(input.name, to_tensor(values, type.dtype));
  input.outputs = {type};
  const ValueId id{static_cast<uint32_t>(part.nodes.size()), 0};
  if (is_added) {
    reader.inputs.push_back(id);
  } else {
    reader.inputs[given.input] = id;
  }
  part.nodes.push_back(std::move(input));
}

RunReplay::Caches GraphSite::copy_of_caches() const {
  RunReplay::Caches copies;
  for (const auto& [name, tensor] : caches_) {
    copies.emplace(name, Tensor::copy_of(tensor.view()));
  }
  return copies;
}

const Array* GraphSite::base_value(const Operand& operand) const {
  if (operand.kind == Operand::Kind::kWeight) return facts_.weight(operand.name);
  if (operand.kind == Operand::Kind::kStep) {
    const auto at = step_values_.find({operand.step, operand.output});
    return at == step_values_.end() ? nullptr : &at->second;
  }
  const std::string key = fmt::format("{} {}", static_cast<int>(operand.kind), operand.name);
  const auto held = values_.find(key);
  if (held != values_.end()) return &held->second;
  View view;
  if (operand.kind == Operand::Kind::kKnown) {
    const auto at = known_by_name_.find(operand.name);
    if (at != known_by_name_.end()) view = replay_.recorded(at->second);
  } else if (operand.kind == Operand::Kind::kCache) {
    view = caches_.at(operand.name).view();
  } else if (replay_.step_data().contains(operand.name)) {
    view = replay_.step_data().at(operand.name).view();
  }
  if (view.data == nullptr) return nullptr;
  return &values_.emplace(key, to_array(view)).first->second;
}

const Array* GraphSite::value(const Operand& operand) const {
  const Array* base = base_value(operand);
  if (base == nullptr || base->shape == operand.shape || operand.shape.empty()) return base;
  const std::string key =
      fmt::format("{} {} {}.{} [{}]", static_cast<int>(operand.kind), operand.name, operand.step,
                  operand.output, fmt::join(operand.shape, ","));
  const auto held = values_.find(key);
  if (held != values_.end()) return &held->second;
  return &values_.emplace(key, reshaped(*base, operand.shape)).first->second;
}

std::optional<Array> GraphSite::replay(const Change& change) const {
  try {
    Graph part = part_;
    RunReplay::Feed feed = own_feed();
    for (const auto& [weight_path, values] : change.weights) {
      const auto at = std::ranges::find(part.parameters, weight_path, &Parameter::path);
      if (at == part.parameters.end()) return std::nullopt;
      DType& held_as = part.nodes[at->node].outputs[0].dtype;
      if (!has_exact(values, held_as)) held_as = DType::kFloat32;
      feed.weights.emplace(weight_path, to_tensor(values, held_as));
    }
    for (const auto& [name, values] : change.known) {
      const bool is_data = replay_.step_data().contains(name);
      feed.known.emplace(name, to_tensor(values, is_data ? DType::kInt32 : DType::kFloat32));
    }
    if (change.chain == Change::Chain::kSound) {
      for (Node& node : part.nodes) {
        if (node.op != nullptr) node.op = find_op(node.op->name);
      }
    }
    for (const GivenInput& given : change.given) give(part, given, feed);
    if (change.graph) change.graph(part);
    if (!retype(part)) return std::nullopt;
    Array found = to_array(replay_.execute(part, copy_of_caches(), feed).view());
    return found.values.size() == reference.values.size() ? std::optional(std::move(found))
                                                          : std::nullopt;
  } catch (const Error&) {
    return std::nullopt;
  }
}

const Array* GraphSite::tap(const std::string& tap_path) const {
  const auto held = taps_.find(tap_path);
  if (held != taps_.end()) return &held->second;
  const auto at = recorded_.find(tap_path);
  if (at == recorded_.end()) return nullptr;
  return &taps_.emplace(tap_path, to_array(at->second->view)).first->second;
}

std::vector<std::string> GraphSite::tap_paths() const { return tap_order_; }

std::vector<std::string> GraphSite::stored_names() const {
  std::vector<std::string> names;
  for (const TensorEntry& entry : facts_.pipeline().model().files.checkpoint.tensors()) {
    names.push_back(entry.name);
  }
  return names;
}

// The piece of `outer` that is node `node` alone, every value that goes into it given.
GraphSite::GraphSite(const GraphSite& outer, uint32_t node, const StepValues& values)
    : Site(outer),
      facts_(outer.facts_),
      replay_(outer.replay_),
      caches_(outer.copy_of_caches()),
      known_by_name_(outer.known_by_name_),
      recorded_(outer.recorded_),
      tap_order_(outer.tap_order_) {
  Graph chain = outer.part_;
  // Names of inputs are those of nodes, of which the piece has others.
  for (Node& input : chain.nodes) {
    const auto known = outer.names_of_inputs_.find(input.name);
    if (input.kind != NodeKind::kInput || known == outer.names_of_inputs_.end()) continue;
    input.name = "outer." + input.name;
    names_of_inputs_.emplace(input.name, known->second);
    const View view = replay_.recorded(known_by_name_.at(known->second));
    given_.emplace(input.name,
                   convert(view, input.outputs[0].dtype, replay_.shape_of(input.outputs[0])));
  }
  std::set<ValueId> known;
  for (const ValueId& input : chain.nodes[node].inputs) {
    const ValueId source = chain.storage(input);
    if (chain.node(source).kind != NodeKind::kOp) continue;
    known.insert(input);
    const std::string name = fmt::format("{}: what goes into {}", path, chain.nodes[node].op->name);
    const Array& array = values.at({outer.step_of_node_.at(source.node), source.output});
    const std::string key = fmt::format("{} {}", name, value_name(input));
    names_of_inputs_.emplace(value_name(input), key);
    values_.emplace(fmt::format("{} {}", static_cast<int>(Operand::Kind::kKnown), key), array);
    given_.emplace(
        value_name(input),
        to_tensor(reshaped(array, replay_.shape_of(chain.type(input))), chain.type(input).dtype));
  }
  part_ = cut(chain, {node, 0}, known);
  steps.clear();
  make_steps();
  run_port();
}

GraphSite::StepValues GraphSite::sound_values() const {
  StepValues values;
  Graph part = part_;
  for (Node& node : part.nodes) {
    if (node.op != nullptr) node.op = find_op(node.op->name);
  }
  RunReplay::Feed feed = own_feed();
  for (const SiteStep& step : steps) {
    for (uint32_t i = 0; i < part.nodes[step.node].outputs.size(); ++i) {
      feed.observed.push_back({step.node, i});
    }
  }
  feed.observe = [&](ValueId v, const View& view) {
    values[{step_of_node_.at(v.node), v.output}] = to_array(view);
  };
  replay_.execute(part, copy_of_caches(), feed);
  return values;
}

// Where one op computes otherwise than it is meant: it alone.
std::unique_ptr<GraphSite> GraphSite::guilty_op() const {
  for (const SiteStep& step : steps) {
    if (part_.nodes[step.node].op == find_op(step.op)) continue;
    Change others;
    others.graph = [&](Graph& part) {
      for (uint32_t n = 0; n < part.nodes.size(); ++n) {
        if (part.nodes[n].op != nullptr && n != step.node) {
          part.nodes[n].op = find_op(part.nodes[n].op->name);
        }
      }
    };
    const std::optional<Array> found = replay(others);
    if (!found || difference(*found, port) > bar) continue;
    const StepValues values = sound_values();
    std::unique_ptr<GraphSite> site(new GraphSite(*this, step.node, values));
    site->reference = reshaped(values.at({step_of_node_.at(step.node), 0}), site->port.shape);
    site->sound_error_ = 0;
    site->effect = site->difference(site->port, site->reference);
    return site->effect > site->bar ? std::move(site) : nullptr;
  }
  return nullptr;
}

// Where the port makes rotary tables of its own, and those that the reference recorded are right.
std::unique_ptr<GraphSite> GraphSite::own_tables() const {
  for (const SiteStep& rope : steps) {
    const Operand *cos = rope.operand("cos"), *sin = rope.operand("sin");
    if (rope.op != "rope" || cos == nullptr || cos->kind != Operand::Kind::kStep) continue;
    const auto& maker = steps[static_cast<size_t>(cos->step)];
    if (maker.op != "rotary_embedding" || sin == nullptr) continue;
    for (const std::string& name : tap_order_) {
      const std::string other = name + ":output.1";
      const Array *right_cos = tap(name), *right_sin = tap(other);
      if (right_sin == nullptr || right_cos->rank() != 2 ||
          right_cos->dim(0) != geometry.n_tokens) {
        continue;
      }
      Change change;
      for (const SiteStep& reader : steps) {
        const Operand* reads = reader.operand("cos");
        if (reader.op != "rope" || reads == nullptr || reads->step != cos->step) continue;
        change.given.push_back({reader.node, 1, *right_cos});
        change.given.push_back({reader.node, 2, *right_sin});
      }
      const std::optional<Array> found = replay(change);
      if (!found || !same(*found, reference)) continue;
      std::unique_ptr<GraphSite> site(new GraphSite(*this, maker.node, step_values_));
      site->reference = *right_cos;
      site->effect = site->difference(site->port, site->reference);
      return site;
    }
  }
  return nullptr;
}

std::unique_ptr<GraphSite> GraphSite::narrowed() const {
  if (steps.size() < 2) return nullptr;
  try {
    return is_sound_right() ? guilty_op() : own_tables();
  } catch (const Error&) {
    return nullptr;
  }
}

int64_t GraphSite::stored_size(const std::string& name) const {
  const Checkpoint& checkpoint = facts_.pipeline().model().files.checkpoint;
  const TensorEntry* entry = checkpoint.find(name);
  return entry == nullptr ? 0 : checkpoint.view(*entry).elements();
}

std::vector<std::string> GraphSite::weight_paths() const {
  std::vector<std::string> paths;
  for (const Parameter& parameter : facts_.pipeline().graph().parameters) {
    paths.push_back(parameter.path);
  }
  return paths;
}

std::optional<double> GraphSite::config_number(std::string_view key) const {
  return facts_.config().number(key);
}

std::optional<std::string> GraphSite::config_text(std::string_view key) const {
  return facts_.config().text(key);
}

std::vector<std::pair<std::string, double>> GraphSite::config_numbers() const {
  return facts_.config().numbers();
}

}  // namespace lockstep::parity
