#include "parity/explain/edit.h"

#include <utility>

#include "lockstep/error.h"

namespace lockstep::parity {
namespace {

std::vector<TensorType> types_of(const Graph& part, const OpDef& op,
                                 const std::vector<ValueId>& inputs, const Attrs& attrs) {
  std::vector<TensorType> types;
  for (const ValueId& input : inputs) types.push_back(part.type(input));
  return op.infer({types, attrs, part.activation_dtype});
}

}  // namespace

void set_attr(Graph& part, uint32_t node, const std::string& name, Attrs::Value value) {
  part.nodes[node].attrs.set(name, std::move(value));
}

void set_input(Graph& part, uint32_t node, size_t input, ValueId value) {
  part.nodes[node].inputs.at(input) = value;
}

ValueId insert_op(Graph& part, uint32_t before, const std::string& op,
                  const std::vector<ValueId>& inputs, Attrs attrs) {
  Node node;
  node.op = find_op(op);
  if (node.op == nullptr) throw Error(ErrorCode::kInternal, "insert_op: no op " + op);
  node.inputs = inputs;
  node.attrs = std::move(attrs);
  node.outputs = types_of(part, *node.op, inputs, node.attrs);
  const auto moved = [before](uint32_t n) { return n >= before ? n + 1 : n; };
  for (Node& other : part.nodes) {
    for (ValueId& input : other.inputs) input.node = moved(input.node);
  }
  for (Parameter& parameter : part.parameters) parameter.node = moved(parameter.node);
  for (CacheInput& cache : part.caches) cache.node = moved(cache.node);
  for (GraphOutput& output : part.outputs) output.value.node = moved(output.value.node);
  part.nodes.insert(part.nodes.begin() + before, std::move(node));
  return {before, 0};
}

void replace_value(Graph& part, ValueId from, ValueId to, uint32_t last) {
  for (uint32_t n = last + 1; n < part.nodes.size(); ++n) {
    for (ValueId& input : part.nodes[n].inputs) {
      if (input == from) input = to;
    }
  }
  for (GraphOutput& output : part.outputs) {
    if (output.value == from) output.value = to;
  }
}

bool retype(Graph& part) {
  const Shape wanted = part.type(part.outputs.front().value).shape;
  try {
    for (Node& node : part.nodes) {
      if (node.kind != NodeKind::kOp) continue;
      node.outputs = types_of(part, *node.op, node.inputs, node.attrs);
    }
  } catch (const Error&) {
    return false;
  }
  return part.type(part.outputs.front().value).shape == wanted;
}

}  // namespace lockstep::parity
