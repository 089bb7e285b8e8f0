#include "graph/trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "base/glob.h"
#include "graph/wrapper_names.h"
#include "lockstep/error.h"
#include "ops/torch_powers.h"

namespace {
using namespace lockstep;

// A runaway port would otherwise fill the memory before anybody learns why.
constexpr size_t kMaxNodes = 4'000'000;

struct StepInput {
  const char* name;
  Symbol symbol;
};
// What the runtime brings to a step (runtime/pipeline.h); all int32 vectors.
constexpr StepInput kStepInputs[] = {
    {"@input_ids", Symbol::kTokens},
    {"@positions", Symbol::kTokens},
    {"@row_offsets", Symbol::kSequenceOffsets},
    {"@page_offsets", Symbol::kSequenceOffsets},
    {"@pages", Symbol::kStepPages},
    {"@logit_rows", Symbol::kLogitRows},
    {"@state_slots", Symbol::kSequences},
};
}  // namespace

// The host's side of the C table: one object a trace.
struct LockstepBuilder {
  LockstepBuilder(const LockstepArchitecture& a, const ConfigFile& c, const Checkpoint& k,
                  DType dtype)
      : architecture(a), config(c), checkpoint(k) {
    graph.architecture = a.class_name;
    graph.activation_dtype = dtype;
  }

  const LockstepArchitecture& architecture;
  const ConfigFile& config;
  const Checkpoint& checkpoint;
  Graph graph;
  Audit audit;
  WrapperNames names;
  ConfigReads reads;
  std::unordered_map<std::string, size_t> read_index;  // by path, into reads
  std::vector<uint32_t> open_calls;
  std::unordered_map<std::string, uint32_t> inputs, parameters, calls_per_path;
  std::unordered_set<std::string> bound;  // stored names in use
  std::vector<std::pair<std::string, std::string>> drops;
  std::string message, hint;

  std::string where() const {
    if (open_calls.empty()) return architecture.class_name;
    const std::string& path = graph.calls[open_calls.back()].path;
    return path.empty() ? architecture.class_name : path;
  }

  uint32_t add_node(Node node) {
    if (graph.nodes.size() >= kMaxNodes) {
      throw Error(ErrorCode::kResourceExhausted,
                  fmt::format("the graph has {} nodes and grows", kMaxNodes),
                  "check num_hidden_layers in config.json and the loops of the port");
    }
    node.call = open_calls.empty() ? kNoCall : open_calls.back();
    graph.nodes.push_back(std::move(node));
    return static_cast<uint32_t>(graph.nodes.size() - 1);
  }

  ValueId value(LockstepValue raw) const {
    if (raw.node >= graph.nodes.size() || raw.output >= graph.nodes[raw.node].outputs.size()) {
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("value {}.{} does not exist in this graph", raw.node, raw.output),
                  "a Value is good only while the graph it came from is traced");
    }
    return {raw.node, raw.output};
  }

  // What the port has put in the place of a part of config.json; no file: nothing.
  struct Replacement {
    std::string path;
    std::optional<ConfigFile> file;  // {"value": ...}
  };
  std::vector<Replacement> replacements;
  ConfigFile nothing = ConfigFile::parse("{}", config.file());

  void replace(const std::string& path, const char* json) {
    std::optional<ConfigFile> file;
    if (json != nullptr) {
      file = ConfigFile::parse(fmt::format(R"({{"value": {}}})", json),
                               fmt::format("the port's value of {}", path));
    }
    replacements.push_back({path, std::move(file)});
  }

  // Where a key is read, and under which path there. The newest replacement of it counts.
  struct ConfigPlace {
    const ConfigFile& file;
    std::string path;
  };
  ConfigPlace place_of(const std::string& path) {
    for (size_t i = replacements.size(); i-- > 0;) {
      const Replacement& r = replacements[i];
      if (path != r.path && !path.starts_with(r.path + ".")) continue;
      if (!r.file) return {nothing, path};
      return {*r.file, "value" + path.substr(r.path.size())};
    }
    return {config, config_key(path)};
  }

  // Where config.json has the port's key, which is being asked for.
  std::string config_key(std::string_view key) { return note_read(key).path; }

  ConfigReads::Read& note_read(std::string_view key) {
    std::string path = names.config_key(config, key);
    const auto [at, is_new] = read_index.try_emplace(path, reads.reads.size());
    if (is_new) reads.reads.push_back({std::move(path), "", open_calls.empty() ? "" : where()});
    return reads.reads[at->second];
  }

  void stand_inside(const LockstepWrapper& wrapper) {
    if (names.is_wrapped() || !graph.calls.empty() || !graph.parameters.empty()) {
      throw Error(ErrorCode::kInvalidArgument,
                  "a wrapper is named once, before any parameter and module call");
    }
    names = WrapperNames(wrapper, config);
  }

  // The checkpoint's entry for a parameter, in any layout that it may be stored in.
  const TensorEntry* find_stored(const std::string& own_path) {
    for (const std::string& path : names.stored(own_path)) {
      if (const TensorEntry* entry = find_prefixed(path)) return entry;
    }
    return nullptr;
  }

  // Under either form of the base-model prefix.
  const TensorEntry* find_prefixed(const std::string& path) {
    if (const TensorEntry* entry = checkpoint.find(path)) return entry;
    const std::string prefix = std::string(architecture.base_model_prefix) + ".";
    if (prefix.size() == 1) return nullptr;
    if (path.starts_with(prefix)) {
      if (const TensorEntry* entry = checkpoint.find(path.substr(prefix.size()))) {
        audit.prefix_change = "-" + prefix;
        return entry;
      }
      return nullptr;
    }
    const TensorEntry* entry = checkpoint.find(prefix + path);
    if (entry != nullptr) audit.prefix_change = "+" + prefix;
    return entry;
  }

  uint32_t add_parameter(const std::string& path, std::span<const int64_t> shape,
                         const TensorEntry* entry, std::string tied_to) {
    Node node;
    node.kind = NodeKind::kParameter;
    node.name = path;
    TensorType type{DType::kBFloat16, Shape(shape)};
    if (entry != nullptr) type.dtype = entry->dtype;
    node.outputs = {type};
    const uint32_t id = add_node(std::move(node));
    graph.parameters.push_back(
        {id, path, entry == nullptr ? "" : entry->name, std::move(tied_to), {}, -1, 0, {}});
    parameters.emplace(path, id);
    if (entry != nullptr) bound.insert(entry->name);
    return id;
  }

  void check_entry(const std::string& path, std::span<const int64_t> shape,
                   const TensorEntry& entry) {
    const TensorType found{entry.dtype, Shape(entry.shape)};
    if (!std::ranges::equal(entry.shape, shape)) {
      audit.mismatched.push_back(fmt::format("{}: expected {} from {}, found {} in {}", path,
                                             to_string(Shape(shape)), config.file(),
                                             to_string(found), checkpoint.file_of(entry)));
    } else if (entry.dtype != DType::kFloat32 && entry.dtype != DType::kBFloat16 &&
               entry.dtype != DType::kFloat16) {
      audit.mismatched.push_back(
          fmt::format("{}: expected float32, bfloat16 or float16, found {} in {}", path,
                      to_string(found), checkpoint.file_of(entry)));
    }
  }

  static void check_shape(const std::string& path, std::span<const int64_t> shape) {
    for (const int64_t n : shape) {
      if (n < 1) {
        throw Error(ErrorCode::kInvalidArgument,
                    fmt::format("{}: expected sizes of 1 or more, found {}", path,
                                to_string(Shape(shape))));
      }
    }
    if (checked_product(shape) < 0) {
      throw Error(ErrorCode::kOutOfRange,
                  fmt::format("{}: {} elements overflow", path, to_string(Shape(shape))),
                  "check the sizes in config.json");
    }
  }

  uint32_t parameter(const std::string& own_path, std::span<const int64_t> shape) {
    const std::string path = names.path(own_path);
    check_shape(path, shape);
    if (const auto at = parameters.find(path); at != parameters.end()) return at->second;
    const TensorEntry* entry = find_stored(own_path);
    if (entry == nullptr) {
      audit.missing.push_back(fmt::format("{} {}", path, to_string(Shape(shape))));
    } else if (has_more_rows(own_path, shape, *entry)) {
      return add_first_rows(path, shape, *entry, "");
    } else {
      check_entry(path, shape, *entry);
    }
    return add_parameter(path, shape, entry, "");
  }

  bool has_more_rows(const std::string& own_path, std::span<const int64_t> shape,
                     const TensorEntry& entry) const {
    return names.may_have_more_rows(own_path) && entry.shape.size() == shape.size() &&
           entry.shape[0] > shape[0] &&
           std::ranges::equal(std::span(entry.shape).subspan(1), shape.subspan(1));
  }

  // A parameter of which the checkpoint stores more rows than there are.
  uint32_t add_first_rows(const std::string& path, std::span<const int64_t> shape,
                          const TensorEntry& entry, std::string tied_to) {
    std::vector<int64_t> whole(entry.shape);
    check_entry(path, whole, entry);
    const uint32_t id = add_parameter(path, shape, nullptr, std::move(tied_to));
    graph.nodes[id].outputs[0].dtype = entry.dtype;
    graph.parameters.back().parts = {{entry.name, 0, shape[0], false}};
    bound.insert(entry.name);
    audit.shortened.push_back({path, entry.name, shape[0], entry.shape[0]});
    return id;
  }

  // One part of a weight: its rows checked, its elements counted (0 when it is not stored).
  int64_t add_part(const std::string& path, const LockstepPart& raw, std::vector<StoredPart>& parts,
                   std::optional<DType>& dtype) {
    const TensorEntry* entry = find_stored(raw.stored);
    if (entry == nullptr) {
      audit.missing.push_back(fmt::format("{} (part of {})", raw.stored, path));
      return 0;
    }
    const int64_t n_rows = entry->shape.empty() ? 1 : entry->shape[0];
    const StoredPart part{entry->name, raw.row_begin, raw.row_end == 0 ? n_rows : raw.row_end,
                          raw.transpose != 0};
    if (part.begin < 0 || part.begin >= part.end || part.end > n_rows ||
        (part.transpose && entry->shape.size() < 2)) {
      audit.mismatched.push_back(fmt::format(
          "{}: expected rows {} to {}{}, found {} in {}", path, part.begin, part.end,
          part.transpose ? " of a matrix" : "",
          to_string(TensorType{entry->dtype, Shape(entry->shape)}), checkpoint.file_of(*entry)));
      return 0;
    }
    if (dtype && *dtype != entry->dtype) {
      audit.mismatched.push_back(fmt::format("{}: expected parts of one dtype, found {} and {}",
                                             path, dtype_name(*dtype), dtype_name(entry->dtype)));
    }
    dtype = entry->dtype;
    bound.insert(entry->name);
    parts.push_back(part);
    return checked_product(entry->shape) / n_rows * (part.end - part.begin);
  }

  // A matrix stored whole and transposed: the count of elements alone would let any shape pass.
  void check_turned(const std::string& path, std::span<const int64_t> shape,
                    const StoredPart& part) {
    const TensorEntry& entry = *checkpoint.find(part.stored);
    if (!part.transpose || part.begin != 0 || part.end != entry.shape[0] ||
        entry.shape.size() != shape.size()) {
      return;
    }
    std::vector<int64_t> expected(shape.begin(), shape.end());
    std::swap(expected.end()[-1], expected.end()[-2]);
    check_entry(path, expected, entry);
  }

  uint32_t parameter_of(const std::string& own_path, std::span<const int64_t> shape,
                        std::span<const LockstepPart> raw_parts) {
    const std::string path = names.path(own_path);
    check_shape(path, shape);
    if (const auto at = parameters.find(path); at != parameters.end()) return at->second;
    const int64_t expected = checked_product(shape);
    std::vector<StoredPart> parts;
    std::optional<DType> dtype;
    int64_t found = 0;
    bool complete = true;
    for (const LockstepPart& raw : raw_parts) {
      const int64_t elements = add_part(path, raw, parts, dtype);
      complete = complete && elements > 0;
      found += elements;
    }
    if (complete && found != expected) {
      audit.mismatched.push_back(fmt::format(
          "{}: expected {} from {}, found {} elements in {} stored parts ({}, ...)", path,
          to_string(Shape(shape)), config.file(), found, raw_parts.size(), raw_parts[0].stored));
    }
    if (parts.size() == 1 && !parts[0].transpose) {
      const TensorEntry* entry = checkpoint.find(parts[0].stored);
      if (parts[0].begin == 0 && parts[0].end == entry->shape[0]) {
        check_entry(path, shape, *entry);
        return add_parameter(path, shape, entry, "");
      }
    }
    if (parts.size() == 1 && found == expected) check_turned(path, shape, parts[0]);
    const uint32_t id = add_parameter(path, shape, nullptr, "");
    graph.nodes[id].outputs[0].dtype = dtype.value_or(DType::kBFloat16);
    graph.parameters.back().parts = std::move(parts);
    return id;
  }

  uint32_t tie(const std::string& own_path, ValueId source) {
    const std::string path = names.path(own_path);
    const auto owner = std::ranges::find(graph.parameters, source.node, &Parameter::node);
    if (owner == graph.parameters.end()) {
      throw Error(ErrorCode::kInvalidArgument, path + ": tied to a value that is no parameter");
    }
    std::vector<int64_t> shape;
    for (const Dim& dim : graph.nodes[source.node].outputs[0].shape.dims()) {
      shape.push_back(dim.count);
    }
    const TensorEntry* own = find_stored(own_path);
    const std::string source_path = owner->path;
    Audit::Tie tie{path, source_path, stored_name(*owner), false};
    const bool is_longer = own != nullptr && has_more_rows(own_path, shape, *own);
    if (own != nullptr && !is_longer) check_entry(path, shape, *own);
    if (own != nullptr && tie.stored.empty() && owner->parts.empty()) {
      // Only the tied name is stored: the reference lets the source read it.
      tie.stored = own->name;
      if (is_longer) {
        owner->parts = {{own->name, 0, shape[0], false}};
      } else {
        owner->stored = own->name;
      }
      graph.nodes[source.node].outputs[0].dtype = own->dtype;
      std::erase_if(audit.missing,
                    [&](const std::string& line) { return line.starts_with(source_path + " "); });
    } else if (own != nullptr) {
      tie.stored_twice = true;
    }
    const TensorEntry* entry = own != nullptr ? own : checkpoint.find(tie.stored);
    audit.ties.push_back(tie);
    if (entry != nullptr && entry->shape != shape && (own == nullptr || is_longer)) {
      return add_first_rows(path, shape, *entry, source_path);
    }
    return add_parameter(path, shape, entry, source_path);
  }

  // The one tensor that a parameter reads; empty where there are none or several.
  static std::string stored_name(const Parameter& parameter) {
    return parameter.parts.size() == 1 ? parameter.parts[0].stored : parameter.stored;
  }

  uint32_t input(const std::string& name) {
    if (const auto at = inputs.find(name); at != inputs.end()) return at->second;
    for (const StepInput& step_input : kStepInputs) {
      if (name != step_input.name) continue;
      Node node;
      node.kind = NodeKind::kInput;
      node.name = name;
      node.outputs = {{DType::kInt32, Shape{Dim(step_input.symbol)}}};
      return inputs[name] = add_node(std::move(node));
    }
    std::string known;
    for (const StepInput& step_input : kStepInputs) known += std::string(" ") + step_input.name;
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("step input {}: expected one of{}", name, known));
  }

  uint32_t cache(const std::string& name, uint32_t kind, uint32_t dtype,
                 std::span<const int64_t> shape) {
    const bool paged = kind == LOCKSTEP_CACHE_PAGED;
    if ((!paged && kind != LOCKSTEP_CACHE_SLOT) || (paged && shape.size() != 2) || shape.empty() ||
        static_cast<int>(shape.size()) >= kMaxRank || checked_product(shape) < 1) {
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("cache {}: expected [heads, width] a token or a shape a sequence, "
                              "found kind {} of {}",
                              name, kind, to_string(Shape(shape))));
    }
    std::string full = "@" + where();
    if (!open_calls.empty() && graph.calls[open_calls.back()].index > 0) {
      full += fmt::format("#{}", graph.calls[open_calls.back()].index);
    }
    full += "/" + name;
    if (inputs.contains(full)) {
      throw Error(ErrorCode::kInvalidArgument, full + ": declared twice in one module call",
                  "give each cache its own module");
    }
    Shape whole;
    whole.push_back(Dim(paged ? Symbol::kCachePages : Symbol::kStateSlots));
    for (const int64_t n : shape) {
      whole.push_back(Dim(n));
      if (paged && whole.rank() == 2) whole.push_back(Dim(Symbol::kPageSize));
    }
    Node node;
    node.kind = NodeKind::kInput;
    node.name = full;
    node.outputs = {
        {dtype == LOCKSTEP_CACHE_FLOAT32 ? DType::kFloat32 : graph.activation_dtype, whole}};
    const uint32_t id = add_node(std::move(node));
    graph.caches.push_back({id, static_cast<LockstepCacheKind>(kind), full});
    return inputs[full] = id;
  }

  uint32_t op(const std::string& name, std::span<const LockstepValue> raw_inputs, Attrs attrs) {
    const OpDef* def = find_op(name);
    if (def == nullptr) {
      throw Error(ErrorCode::kUnimplemented, fmt::format("op {}: this build has no such op", name));
    }
    Node node;
    node.op = def;
    node.attrs = std::move(attrs);
    std::vector<TensorType> types;
    for (const LockstepValue& raw : raw_inputs) {
      node.inputs.push_back(value(raw));
      types.push_back(graph.type(node.inputs.back()));
    }
    node.outputs = def->infer({types, node.attrs, graph.activation_dtype});
    return add_node(std::move(node));
  }

  void finish() {
    for (const TensorEntry& entry : checkpoint.tensors()) {
      if (bound.contains(entry.name)) continue;
      const auto drop = std::ranges::find_if(drops, [&](const auto& d) {
        return std::ranges::any_of(names.stored(d.first), [&](const std::string& pattern) {
          return glob_match(pattern, entry.name);
        });
      });
      if (drop == drops.end()) {
        audit.surplus.push_back(entry.name);
      } else {
        audit.dropped.push_back({entry.name, drop->second});
      }
    }
  }
};

namespace {

// Runs `body` so that nothing throws across the C boundary.
template <class Body>
int guarded(LockstepBuilder* b, Body&& body) noexcept {
  try {
    body();
    return 0;
  } catch (const Error& error) {
    b->message = error.message();
    b->hint = error.hint();
    if (!b->open_calls.empty()) b->message = b->where() + ": " + b->message;
    return static_cast<int>(error.code());
  } catch (const std::exception& error) {
    b->message = error.what();
    b->hint.clear();
    return static_cast<int>(ErrorCode::kInternal);
  }
}

Attrs convert_attrs(const LockstepAttr* attrs, size_t n) {
  Attrs converted;
  for (size_t i = 0; i < n; ++i) {
    const LockstepAttr& a = attrs[i];
    switch (a.kind) {
      case LOCKSTEP_ATTR_INT:
        converted.set(a.name, a.integer);
        break;
      case LOCKSTEP_ATTR_FLOAT:
        converted.set(a.name, a.number);
        break;
      case LOCKSTEP_ATTR_STRING:
        converted.set(a.name, std::string(a.text));
        break;
      case LOCKSTEP_ATTR_INTS:
        converted.set(a.name, std::vector<int64_t>(a.integers, a.integers + a.length));
        break;
      case LOCKSTEP_ATTR_FLOATS:
        converted.set(a.name, std::vector<double>(a.numbers, a.numbers + a.length));
        break;
      default:
        throw Error(ErrorCode::kInvalidArgument,
                    fmt::format("attribute {}: unknown kind {}", a.name, a.kind));
    }
  }
  return converted;
}

uint32_t config_kind_number(ConfigFile::Kind kind) { return static_cast<uint32_t>(kind); }

int api_enter(LockstepBuilder* b, const char* path, const char* class_name,
              const LockstepArgument* arguments, size_t n) {
  return guarded(b, [&] {
    Call call;
    call.path = b->names.path(path);
    call.class_name = class_name;
    call.index = b->calls_per_path[call.path]++;
    call.parent = b->open_calls.empty() ? kNoCall : b->open_calls.back();
    call.begin = static_cast<uint32_t>(b->graph.nodes.size());
    for (size_t i = 0; i < n; ++i) {
      call.inputs.push_back(
          {arguments[i].name == nullptr ? "" : arguments[i].name, b->value(arguments[i].value)});
    }
    b->open_calls.push_back(static_cast<uint32_t>(b->graph.calls.size()));
    b->graph.calls.push_back(std::move(call));
  });
}

int api_leave(LockstepBuilder* b, const LockstepValue* outputs, size_t n) {
  return guarded(b, [&] {
    if (b->open_calls.empty()) {
      throw Error(ErrorCode::kInternal, "leave() without enter()");
    }
    Call& call = b->graph.calls[b->open_calls.back()];
    call.end = static_cast<uint32_t>(b->graph.nodes.size());
    for (size_t i = 0; i < n; ++i) call.outputs.push_back(b->value(outputs[i]));
    b->open_calls.pop_back();
  });
}

int api_op(LockstepBuilder* b, const char* name, const LockstepValue* inputs, size_t n_inputs,
           const LockstepAttr* attrs, size_t n_attrs, LockstepValue* outputs, size_t n_outputs) {
  return guarded(b, [&] {
    const uint32_t node = b->op(name, {inputs, n_inputs}, convert_attrs(attrs, n_attrs));
    const size_t found = b->graph.nodes[node].outputs.size();
    if (found != n_outputs) {
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("[{}] expected {} outputs by the port, the op has {}", name,
                              n_outputs, found));
    }
    for (uint32_t i = 0; i < n_outputs; ++i) outputs[i] = {node, i};
  });
}

int api_shape(LockstepBuilder* b, LockstepValue raw, LockstepDim* dims, size_t* rank) {
  return guarded(b, [&] {
    const Shape& shape = b->graph.type(b->value(raw)).shape;
    const auto n = static_cast<size_t>(shape.rank());
    if (*rank < n) throw Error(ErrorCode::kOutOfRange, "shape(): the buffer is too small");
    for (size_t i = 0; i < n; ++i) {
      const Dim& dim = shape[static_cast<int>(i)];
      dims[i] = {dim.count, static_cast<uint32_t>(dim.symbol)};
    }
    *rank = n;
  });
}

const LockstepApi kApi = {
    .abi_version = LOCKSTEP_ABI_VERSION,
    .size = sizeof(LockstepApi),
    .host_version = LOCKSTEP_SDK_VERSION,
    .last_message = [](LockstepBuilder* b) { return b->message.c_str(); },
    .last_hint = [](LockstepBuilder* b) { return b->hint.c_str(); },
    .fail =
        [](LockstepBuilder* b, int, const char* message, const char* hint) {
          // The host's own errors come back through the port: keep the module path once.
          if (!b->open_calls.empty() && !std::string_view(message).starts_with(b->where() + ":")) {
            b->message = b->where() + ": " + message;
          } else {
            b->message = message;
          }
          b->hint = hint;
        },
    .config_kind =
        [](LockstepBuilder* b, const char* path, uint32_t* kind) {
          return guarded(b, [&] {
            const auto at = b->place_of(path);
            *kind = config_kind_number(at.file.kind(at.path));
          });
        },
    .config_int =
        [](LockstepBuilder* b, const char* path, int64_t* value) {
          return guarded(b, [&] {
            const auto at = b->place_of(path);
            *value = at.file.get_int(at.path);
          });
        },
    .config_number =
        [](LockstepBuilder* b, const char* path, double* value) {
          return guarded(b, [&] {
            const auto at = b->place_of(path);
            *value = at.file.get_number(at.path);
          });
        },
    .config_bool =
        [](LockstepBuilder* b, const char* path, int* value) {
          return guarded(b, [&] {
            const auto at = b->place_of(path);
            *value = at.file.get_bool(at.path);
          });
        },
    .config_string =
        [](LockstepBuilder* b, const char* path, const char** value) {
          return guarded(b, [&] {
            const auto at = b->place_of(path);
            *value = at.file.get_string(at.path).c_str();
          });
        },
    .config_length =
        [](LockstepBuilder* b, const char* path, size_t* value) {
          return guarded(b, [&] {
            const auto at = b->place_of(path);
            *value = at.file.length(at.path);
          });
        },
    .config_file = [](LockstepBuilder* b) { return b->config.file().c_str(); },
    .parameter =
        [](LockstepBuilder* b, const char* path, const int64_t* shape, size_t rank,
           LockstepValue* value) {
          return guarded(b, [&] { *value = {b->parameter(path, {shape, rank}), 0}; });
        },
    .parameter_of =
        [](LockstepBuilder* b, const char* path, const int64_t* shape, size_t rank,
           const LockstepPart* parts, size_t n_parts, LockstepValue* value) {
          return guarded(b, [&] {
            *value = {b->parameter_of(path, {shape, rank}, {parts, n_parts}), 0};
          });
        },
    .parameter_exists =
        [](LockstepBuilder* b, const char* path, int* exists) {
          return guarded(b, [&] { *exists = b->find_stored(path) != nullptr; });
        },
    .tie =
        [](LockstepBuilder* b, const char* path, LockstepValue source, LockstepValue* value) {
          return guarded(b, [&] { *value = {b->tie(path, b->value(source)), 0}; });
        },
    .drop =
        [](LockstepBuilder* b, const char* pattern, const char* reason) {
          return guarded(b, [&] { b->drops.emplace_back(pattern, reason); });
        },
    .input = [](LockstepBuilder* b, const char* name,
                LockstepValue* value) { return guarded(b, [&] {
                                          *value = {b->input(name), 0};
                                        }); },
    .cache =
        [](LockstepBuilder* b, const char* name, uint32_t kind, uint32_t dtype,
           const int64_t* shape, size_t rank, LockstepValue* value) {
          return guarded(b, [&] { *value = {b->cache(name, kind, dtype, {shape, rank}), 0}; });
        },
    .enter = api_enter,
    .leave = api_leave,
    .tap =
        [](LockstepBuilder* b, const char* name, LockstepValue value) {
          return guarded(b, [&] {
            if (b->open_calls.empty()) {
              throw Error(ErrorCode::kInvalidArgument,
                          fmt::format("tap {}: outside any module call", name));
            }
            b->graph.taps.push_back({b->open_calls.back(), name, b->value(value)});
          });
        },
    .op = api_op,
    .shape = api_shape,
    .output =
        [](LockstepBuilder* b, const char* name, LockstepValue value) {
          return guarded(b, [&] { b->graph.outputs.push_back({name, b->value(value)}); });
        },
    .powers =
        [](LockstepBuilder* b, float base, const float* exponents, size_t n, float* out) {
          return guarded(b, [&] { torch_powers(base, {exponents, n}, out); });
        },
    .wrapper =
        [](LockstepBuilder* b, const LockstepWrapper* wrapper) {
          return guarded(b, [&] { b->stand_inside(*wrapper); });
        },
    .config_default =
        [](LockstepBuilder* b, const char* path, const char* json) {
          return guarded(b, [&] { b->note_read(path).default_json = json; });
        },
    .config_replace = [](LockstepBuilder* b, const char* path,
                         const char* json) { return guarded(b, [&] { b->replace(path, json); }); },
};

void append_lines(std::string& text, const char* title, const std::vector<std::string>& lines) {
  if (lines.empty()) return;
  text += fmt::format("\n  {} ({}):", title, lines.size());
  constexpr size_t kShown = 8;
  for (size_t i = 0; i < std::min(kShown, lines.size()); ++i) text += "\n    " + lines[i];
  if (lines.size() > kShown) text += fmt::format("\n    ... and {} more", lines.size() - kShown);
}

std::string location_of(const Checkpoint& checkpoint) {
  if (checkpoint.tensors().empty()) return "(no tensors)";
  std::string first = checkpoint.file_of(checkpoint.tensors().front());
  for (const TensorEntry& entry : checkpoint.tensors()) {
    if (checkpoint.file_of(entry) != first) {
      return std::filesystem::path(first).parent_path().string();
    }
  }
  return first;
}

[[noreturn]] void throw_build_error(const LockstepBuilder& builder, ErrorCode code) {
  std::string message = builder.message;
  if (!message.starts_with(builder.config.file())) message = builder.config.file() + ": " + message;
  if (!builder.audit.mismatched.empty()) {
    std::string text =
        fmt::format("{} does not fit {}", builder.audit.location, builder.architecture.class_name);
    append_lines(text, "wrong shape or dtype", builder.audit.mismatched);
    message = text + "\n  and then: " + message;
  }
  throw Error(code, message, builder.hint);
}

}  // namespace

namespace lockstep {

Trace trace(const LockstepArchitecture& architecture, const ConfigFile& config,
            const Checkpoint& checkpoint, DType activation_dtype, ConfigReads* reads) {
  LockstepBuilder builder(architecture, config, checkpoint, activation_dtype);
  builder.audit.location = location_of(checkpoint);
  const int code = architecture.build(&kApi, &builder);
  if (reads != nullptr) *reads = std::move(builder.reads);
  if (code != 0) throw_build_error(builder, ErrorCode{code});
  if (!builder.open_calls.empty()) {
    throw Error(ErrorCode::kInternal,
                fmt::format("{}: a module call was never left", architecture.class_name));
  }
  builder.finish();
  return {std::move(builder.graph), std::move(builder.audit)};
}

void require(const Audit& audit, const std::string& architecture) {
  if (audit.holds()) return;
  std::string text = fmt::format("{} does not fit {}", audit.location, architecture);
  append_lines(text, "missing, needed by the graph", audit.missing);
  append_lines(text, "wrong shape or dtype", audit.mismatched);
  append_lines(text, "surplus, used by nobody", audit.surplus);
  throw Error(ErrorCode::kFailedPrecondition, text,
              "compare config.json with `lockstep graph MODEL`; a tensor that is rightly unused is "
              "declared with drop() in the port");
}

}  // namespace lockstep
