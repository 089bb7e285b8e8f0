// The graph a port is traced into: nodes in execution order, module calls, taps, caches, weights.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "lockstep/abi.h"
#include "ops/op.h"
#include "ops/shard.h"
#include "tensor/shape.h"

namespace lockstep {

/// Output `output` of node `node`; ordered, so that it can key a map.
struct ValueId {
  uint32_t node = 0;
  uint32_t output = 0;
  friend auto operator<=>(const ValueId&, const ValueId&) = default;
};

enum class NodeKind : uint8_t {
  kInput,      // "@positions": step data, a cache, or the boundary of a sub-graph
  kParameter,  // a weight
  kOp,
};

inline constexpr uint32_t kNoCall = UINT32_MAX;

struct Node {
  NodeKind kind = NodeKind::kOp;
  std::string name;  // of an input or parameter; empty for an op
  const OpDef* op = nullptr;
  Attrs attrs;
  std::vector<ValueId> inputs;
  std::vector<TensorType> outputs;
  uint32_t call = kNoCall;  // innermost module call it belongs to
};

/// A module call as it was traced. Nodes [begin, end) are its body, nested calls included.
struct Call {
  struct Argument {
    std::string name;  // may be empty
    ValueId value;
  };
  std::string path;        // "model.layers.3.self_attn"; "" for the whole model
  std::string class_name;  // the reference's
  uint32_t index = 0;      // nth call of this path
  uint32_t parent = kNoCall;
  uint32_t begin = 0, end = 0;
  std::vector<Argument> inputs;
  std::vector<ValueId> outputs;
};

/// A value named inside a call: "model.layers.3.self_attn/q_rot".
struct FunctionalTap {
  uint32_t call;
  std::string name;
  ValueId value;
};

/// Rows [begin, end) of a stored tensor's first dimension; the last two dimensions of what is taken
/// exchanged if `transpose` is set.
struct StoredPart {
  std::string stored;
  int64_t begin = 0, end = 0;
  bool transpose = false;
};

/// A weight the graph needs, and where the checkpoint has it.
struct Parameter {
  uint32_t node = 0;
  std::string path;     // module path and parameter name
  std::string stored;   // the checkpoint's name for it; empty where parts say it
  std::string tied_to;  // path of the parameter whose weight it shares; empty if none
  /// Where it is not stored as it is: what its elements are made of, one after the other.
  std::vector<StoredPart> parts;
  /// What one rank has of it: ranges of dimension `held_dim`, which has `whole_size` elements in
  /// all; -1: everything.
  int held_dim = -1;
  int64_t whole_size = 0;
  std::vector<Range> held = {};
};

/// A cache that lives across steps, as declared by the call that uses it.
struct CacheInput {
  uint32_t node = 0;
  LockstepCacheKind kind = LOCKSTEP_CACHE_PAGED;
  std::string name;  // "@model.layers.3.self_attn/k_cache"
};

struct GraphOutput {
  std::string name;
  ValueId value;
};

struct Graph {
  std::string architecture;  // class name
  DType activation_dtype = DType::kFloat32;
  std::vector<Node> nodes;
  std::vector<Call> calls;  // in order of entry
  std::vector<FunctionalTap> taps;
  std::vector<Parameter> parameters;
  std::vector<CacheInput> caches;
  std::vector<GraphOutput> outputs;

  const Node& node(ValueId v) const { return nodes[v.node]; }
  const TensorType& type(ValueId v) const { return nodes[v.node].outputs[v.output]; }
  /// The value that holds the data of `v`: follows aliases (reshape) to their source.
  ValueId storage(ValueId v) const;
  std::optional<uint32_t> find_call(std::string_view path, uint32_t index = 0) const;
  std::optional<ValueId> find_input(std::string_view name) const;
};

/// The body of one call as a graph of its own. What it reads from outside becomes an input: step
/// data and caches keep their names; the call's arguments are named "argument.<i>" and anything
/// else "value.<node>.<output>". Weights are kept. Its outputs are "output.<i>".
Graph extract(const Graph& graph, uint32_t call);

/// What computes `target` from the values in `known` (other than itself), step data, caches and
/// weights: the smallest graph whose one output, "target", is that value. Known values become
/// inputs named by value_name().
Graph cut(const Graph& graph, ValueId target, const std::set<ValueId>& known);
/// "value.<node>.<output>"
std::string value_name(ValueId v);

/// Everything that can be observed at run time, in order of execution.
struct Tap {
  enum class Role : uint8_t { kInput, kOutput };
  std::string path;  // "model.layers.3.mlp", or "model.layers.3.self_attn/q_rot"
  std::string class_name;
  Role role = Role::kOutput;
  std::string argument;
  uint32_t index = 0;  // of the argument or result
  uint32_t call = 0;
  ValueId value;
};
/// Outputs of all calls and functional taps whose path matches `pattern` ('*' matches anything);
/// inputs too when `with_inputs`. The whole model's own call, path "", is left out.
enum class TapInputs : bool { kNo, kYes };
std::vector<Tap> list_taps(const Graph& graph, std::string_view pattern, TapInputs with_inputs);

}  // namespace lockstep
