// Edits of a piece of graph, for counterfactuals (site.h, Change::graph).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "graph/graph.h"

namespace lockstep::parity {

/// Another attribute of node `node`.
void set_attr(Graph& part, uint32_t node, const std::string& name, Attrs::Value value);
/// Node `node` takes `value` as its input `input`.
void set_input(Graph& part, uint32_t node, size_t input, ValueId value);
/// A new op before node `before`: everything from there on has an index one higher afterwards.
/// Types are worked out from `inputs`, which lie before it; throws what the op's own checks throw.
ValueId insert_op(Graph& part, uint32_t before, const std::string& op,
                  const std::vector<ValueId>& inputs, Attrs attrs);
/// All that reads `from`, and the outcome where it is that, takes `to` instead; nodes up to and
/// including `last` stay as they are.
void replace_value(Graph& part, ValueId from, ValueId to, uint32_t last);
/// Works out every op's types again, as tracing does. False where an op refuses its attributes or
/// inputs, or where the outcome has another shape than before.
bool retype(Graph& part);

}  // namespace lockstep::parity
