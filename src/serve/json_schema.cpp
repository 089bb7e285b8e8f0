#include "serve/json_schema.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <unordered_map>

#include "base/text.h"
#include "serve/schema_format.h"
#include "serve/schema_number.h"
#include "serve/schema_pattern.h"

namespace lockstep::serve {
namespace {

using Json = nlohmann::ordered_json;
using Kind = GrammarNode::Kind;

constexpr size_t kMaxSchemaBytes = 256u << 10, kMaxNodes = 20'000, kMaxLeaves = 100'000;
constexpr int kMaxDepth = 64;
constexpr uint32_t kMaxLength = 1u << 20;
constexpr const char* kNumberKeywords[] = {"minimum", "maximum", "exclusiveMinimum",
                                           "exclusiveMaximum", "multipleOf"};

// Keywords that allow and forbid nothing.
const std::set<std::string_view>& annotations() {
  static const std::set<std::string_view> all{"title",    "description", "default",    "examples",
                                              "example",  "$schema",     "$id",        "$anchor",
                                              "$comment", "$defs",       "deprecated", "strict",
                                              "readOnly", "writeOnly",   "definitions"};
  return all;
}

class Compiler {
 public:
  explicit Compiler(const Json& document) : document_(document) {}

  Grammar compile() {
    grammar_.root = value(document_, "#", 0);
    for (NodeId i = 0; i < grammar_.nodes.size(); ++i) flatten(i);
    return std::move(grammar_);
  }
  Grammar any_object() {
    any();
    grammar_.root = any_object_;
    return std::move(grammar_);
  }

 private:
  [[noreturn]] static void refuse(const std::string& place, const std::string& message) {
    throw SchemaRefused{place + ": " + message};
  }

  NodeId add(GrammarNode node) {
    if (grammar_.nodes.size() >= kMaxNodes) {
      throw SchemaRefused{fmt::format("the schema is too large: more than {} parts", kMaxNodes)};
    }
    grammar_.nodes.push_back(std::move(node));
    return static_cast<NodeId>(grammar_.nodes.size() - 1);
  }
  NodeId literal(std::string text) {
    GrammarNode node;
    node.text = std::move(text);
    return add(std::move(node));
  }
  NodeId json_literal(const Json& json) { return literal(dump_json(json)); }
  NodeId alternatives(std::vector<NodeId> items) {
    if (items.size() == 1) return items.front();
    GrammarNode node;
    node.kind = Kind::kAlternatives;
    node.items = std::move(items);
    return add(std::move(node));
  }

  // Any value, any object: each once, since they hold each other.
  NodeId any() {
    if (any_ != GrammarNode::kNone) return any_;
    GrammarNode placeholder;
    placeholder.kind = Kind::kAlternatives;
    any_ = add(placeholder);
    GrammarNode object;
    object.kind = Kind::kObject;
    object.rest = any_;
    any_object_ = add(std::move(object));
    const NodeId key = plain(Kind::kString);
    grammar_.nodes[any_object_].rest_key = key;
    GrammarNode array;
    array.kind = Kind::kArray;
    array.rest = any_;
    any_array_ = add(std::move(array));
    std::vector<NodeId> all{any_object_, any_array_, plain(Kind::kString), plain(Kind::kNumber)};
    for (const char* word : {"true", "false", "null"}) all.push_back(literal(word));
    grammar_.nodes[any_].items = std::move(all);
    return any_;
  }
  NodeId plain(Kind kind) {
    GrammarNode node;
    node.kind = kind;
    return add(std::move(node));
  }

  NodeId value(const Json& schema, const std::string& place, int depth) {
    if (depth > kMaxDepth) refuse(place, fmt::format("more than {} levels", kMaxDepth));
    if (schema.is_boolean()) {
      if (!schema.get<bool>()) refuse(place, "false allows nothing");
      return any();
    }
    if (!schema.is_object())
      refuse(place, "expected a schema, found " + std::string(schema.type_name()));
    if (schema.contains("$ref")) return reference(schema, place, depth);
    if (schema.contains("const")) {
      check(schema, place, {"const", "type"});
      if (schema.contains("type") && !has_type(schema["const"], schema["type"])) {
        refuse(place, "the constant is not of the type: nothing fits");
      }
      return json_literal(schema["const"]);
    }
    if (schema.contains("enum")) return enumeration(schema, place);
    for (const char* key : {"anyOf", "oneOf", "allOf"}) {
      if (schema.contains(key)) return combination(schema, key, place, depth);
    }
    return typed(schema, place, depth);
  }

  void check(const Json& schema, const std::string& place,
             std::initializer_list<std::string_view> known) const {
    for (const auto& [key, unused] : schema.items()) {
      const bool is_known = std::find(known.begin(), known.end(), key) != known.end();
      if (!is_known && !annotations().contains(key)) {
        refuse(place, fmt::format("the keyword {} is not supported here", quote_text(key)));
      }
    }
  }

  NodeId reference(const Json& schema, const std::string& place, int depth) {
    check(schema, place, {"$ref"});
    if (!schema["$ref"].is_string()) refuse(place + "/$ref", "expected a string");
    const auto target = schema["$ref"].get<std::string>();
    if (const auto known = references_.find(target); known != references_.end()) {
      return known->second;
    }
    if (!target.starts_with('#')) {
      refuse(place + "/$ref",
             "only places in this schema (#/...) can be referred to, found " + quote_text(target));
    }
    // The name comes first, so that the schema may hold itself.
    GrammarNode node;
    node.kind = Kind::kAlternatives;
    const NodeId id = add(std::move(node));
    references_[target] = id;
    const Json* found = nullptr;
    try {
      const Json::json_pointer pointer(target.substr(1));
      if (document_.contains(pointer)) found = &document_[pointer];
    } catch (const nlohmann::json::exception&) {
      found = nullptr;
    }
    if (found == nullptr) refuse(place + "/$ref", "there is no " + quote_text(target));
    const NodeId inner = value(*found, target, depth + 1);
    grammar_.nodes[id].items = {inner};
    return id;
  }

  NodeId enumeration(const Json& schema, const std::string& place) {
    check(schema, place, {"enum", "type"});
    const Json& all = schema["enum"];
    if (!all.is_array() || all.empty()) refuse(place + "/enum", "expected at least one value");
    std::vector<NodeId> items;
    std::set<std::string> seen;
    for (const Json& one : all) {
      if (schema.contains("type") && !has_type(one, schema["type"])) continue;
      std::string text = dump_json(one);
      if (seen.insert(text).second) items.push_back(literal(std::move(text)));
    }
    if (items.empty()) refuse(place + "/enum", "no value is of the type");
    return alternatives(std::move(items));
  }

  static bool has_type(const Json& value, const Json& type) {
    if (type.is_array()) {
      return std::any_of(type.begin(), type.end(),
                         [&](const Json& one) { return has_type(value, one); });
    }
    if (type == "string") return value.is_string();
    if (type == "integer") return value.is_number_integer();
    if (type == "number") return value.is_number();
    if (type == "boolean") return value.is_boolean();
    if (type == "null") return value.is_null();
    return type == "object" ? value.is_object() : type == "array" && value.is_array();
  }

  NodeId combination(const Json& schema, const char* key, const std::string& place, int depth) {
    check(schema, place, {key});
    const Json& all = schema[key];
    const std::string here = fmt::format("{}/{}", place, key);
    if (!all.is_array() || all.empty()) refuse(here, "expected at least one schema");
    if (std::string_view(key) == "allOf" && all.size() > 1) {
      refuse(place, "the keyword \"allOf\" is supported with one schema alone");
    }
    if (std::string_view(key) == "oneOf") check_distinct(all, here);
    std::vector<NodeId> items;
    for (size_t i = 0; i < all.size(); ++i) {
      items.push_back(value(all[i], fmt::format("{}/{}", here, i), depth + 1));
    }
    return alternatives(std::move(items));
  }

  // What is of one type alone is not of another: then exactly one of them holds.
  void check_distinct(const Json& all, const std::string& place) const {
    std::set<std::string> seen;
    for (const Json& one : all) {
      std::string type;
      if (one.is_object() && one.contains("const")) {
        type = "const " + dump_json(one["const"]);
      } else if (one.is_object() && one.contains("type") && one["type"].is_string()) {
        type = one["type"].get<std::string>();
      }
      const bool clash = type == "integer"  ? seen.contains("number")
                         : type == "number" ? seen.contains("integer")
                                            : false;
      const bool mixes =
          !seen.empty() && seen.begin()->starts_with("const ") != type.starts_with("const ");
      if (all.size() > 1 && (type.empty() || clash || mixes || !seen.insert(type).second)) {
        refuse(place,
               "supported only where the schemas have different types or constants; use "
               "anyOf");
      }
    }
  }

  NodeId typed(const Json& schema, const std::string& place, int depth) {
    if (!schema.contains("type")) return untyped(schema, place, depth);
    const Json& type = schema["type"];
    if (type.is_array()) {
      if (type.empty()) refuse(place + "/type", "expected at least one type");
      // Keywords of one type say nothing of the others.
      std::vector<NodeId> items;
      std::set<std::string> seen;
      for (const Json& one : type) {
        if (!seen.insert(dump_json(one)).second) continue;
        Json single = schema;
        single["type"] = one;
        if (type.size() > 1) drop_other_keywords(single, one);
        items.push_back(typed(single, place, depth + 1));
      }
      return alternatives(std::move(items));
    }
    if (type == "object") return object(schema, place, depth);
    if (type == "array") return array(schema, place, depth);
    if (type == "string") return string(schema, place);
    if (type == "integer" || type == "number") return number(schema, type == "integer", place);
    check(schema, place, {"type"});
    if (type == "boolean") return alternatives({literal("true"), literal("false")});
    if (type == "null") return literal("null");
    refuse(place + "/type",
           "expected object, array, string, number, integer, boolean or null, found " +
               quote_text(dump_json(type)));
  }

  static void drop_other_keywords(Json& schema, const Json& type) {
    const auto drop = [&](const char* of, std::initializer_list<const char*> keys) {
      if (type == of) return;
      for (const char* key : keys) schema.erase(key);
    };
    drop("object",
         {"properties", "required", "additionalProperties", "minProperties", "maxProperties"});
    drop("array", {"items", "prefixItems", "minItems", "maxItems", "uniqueItems"});
    drop("string", {"minLength", "maxLength", "pattern", "format"});
    if (type != "number" && type != "integer") {
      for (const char* key : kNumberKeywords) schema.erase(key);
    }
  }

  // Keywords of a type say nothing of other types; an answer of that type is always valid.
  NodeId untyped(const Json& schema, const std::string& place, int depth) {
    const auto has = [&](auto&&... keys) { return (schema.contains(keys) || ...); };
    if (has("properties", "required", "additionalProperties", "minProperties", "maxProperties")) {
      return object(schema, place, depth);
    }
    if (has("items", "prefixItems", "minItems", "maxItems")) return array(schema, place, depth);
    if (has("pattern", "format", "minLength", "maxLength")) return string(schema, place);
    if (has_number_bounds(schema)) return number(schema, false, place);
    check(schema, place, {});
    return any();
  }

  static uint32_t bound(const Json& schema, const char* key, uint32_t otherwise,
                        const std::string& place) {
    if (!schema.contains(key)) return otherwise;
    const Json& value = schema[key];
    if (!value.is_number_integer() || value < 0 || value > kMaxLength) {
      refuse(fmt::format("{}/{}", place, key), fmt::format("expected 0 to {}", kMaxLength));
    }
    return value.get<uint32_t>();
  }

  static void check_bounds(const GrammarNode& node, const std::string& place) {
    if (node.min > node.max) refuse(place, "the least is more than the most: nothing fits");
  }

  // What `compile` throws, with its place.
  template <class Compile>
  static auto placed(const std::string& place, Compile compile) {
    try {
      return compile();
    } catch (SchemaRefused& refused) {
      const bool begins = refused.message.starts_with('/') || refused.message.starts_with(':');
      throw SchemaRefused{place + (begins ? "" : ": ") + refused.message};
    }
  }

  NodeId automaton(Automaton made) {
    GrammarNode node;
    node.kind = Kind::kAutomaton;
    node.automaton = std::make_shared<const Automaton>(std::move(made));
    return add(std::move(node));
  }

  NodeId number(const Json& schema, bool integer, const std::string& place) {
    check(schema, place,
          {"type", "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
           "multipleOf"});
    const Json format = schema.value("format", Json("double"));
    if (format != "int32" && format != "int64" && format != "float" && format != "double") {
      refuse(place + "/format", "of a number int32, int64, float and double are known");
    }
    if (!has_number_bounds(schema) && format != "int32") {
      GrammarNode node;
      node.kind = Kind::kNumber;
      node.integer = integer;
      return add(std::move(node));
    }
    return automaton(placed(place, [&] {
      NumberBounds bounds = NumberBounds::of(schema, integer);
      if (format == "int32") bounds.narrow(INT32_MIN, INT32_MAX);
      return number_automaton(bounds, budget_);
    }));
  }

  NodeId string(const Json& schema, const std::string& place) {
    check(schema, place, {"type", "minLength", "maxLength", "pattern", "format"});
    GrammarNode node;
    node.kind = Kind::kString;
    node.min = bound(schema, "minLength", 0, place);
    node.max = bound(schema, "maxLength", GrammarNode::kNoMaximum, place);
    check_bounds(node, place);
    if (!schema.contains("pattern") && !schema.contains("format")) return add(std::move(node));
    const Json key{schema.value("pattern", Json()), schema.value("format", Json()), node.min,
                   node.max};
    if (const auto known = strings_.find(dump_json(key)); known != strings_.end()) {
      return known->second;
    }
    CharDfa dfa;
    const auto narrow = [&](const CharDfa& by) {
      dfa = dfa.states.empty() ? by : intersect(dfa, by, budget_);
    };
    if (schema.contains("pattern")) narrow(pattern(schema["pattern"], place + "/pattern"));
    if (schema.contains("format")) narrow(format(schema["format"], place + "/format"));
    placed(place, [&] {
      if (node.min > 0 || node.max != GrammarNode::kNoMaximum) {
        const bool is_bounded = node.max != GrammarNode::kNoMaximum;
        narrow(dfa_of_length(
            node.min, is_bounded ? std::optional<uint32_t>(node.max) : std::nullopt, budget_));
      }
      if (!trim(dfa)) throw SchemaRefused{"no text fits the pattern, format and lengths together"};
      node.automaton = std::make_shared<const Automaton>(json_strings(dfa, budget_));
    });
    node.kind = Kind::kAutomaton;
    return strings_[dump_json(key)] = add(std::move(node));
  }

  CharDfa pattern(const Json& value, const std::string& place) {
    if (!value.is_string()) refuse(place, "expected a string");
    return placed(place,
                  [&] { return dfa_of_pattern(value.get_ref<const std::string&>(), budget_); });
  }

  CharDfa format(const Json& value, const std::string& place) {
    if (!value.is_string()) refuse(place, "expected a string");
    const auto& name = value.get_ref<const std::string&>();
    const auto known = pattern_of_format(name);
    if (!known.has_value()) {
      refuse(place,
             fmt::format("{} is not known; known are {}", quote_text(name), known_formats()));
    }
    return placed(place, [&] { return dfa_of_whole_pattern(*known, budget_); });
  }

  NodeId array(const Json& schema, const std::string& place, int depth) {
    check(schema, place, {"type", "items", "prefixItems", "minItems", "maxItems", "uniqueItems"});
    if (schema.value("uniqueItems", Json(false)) != false) {
      refuse(place, "the keyword \"uniqueItems\" is not supported here");
    }
    GrammarNode node;
    node.kind = Kind::kArray;
    node.min = bound(schema, "minItems", 0, place);
    node.max = bound(schema, "maxItems", GrammarNode::kNoMaximum, place);
    if (schema.contains("prefixItems")) {
      const Json& prefix = schema["prefixItems"];
      if (!prefix.is_array()) refuse(place + "/prefixItems", "expected a list of schemas");
      for (size_t i = 0; i < prefix.size(); ++i) {
        node.items.push_back(
            value(prefix[i], fmt::format("{}/prefixItems/{}", place, i), depth + 1));
      }
    }
    const bool is_closed = schema.contains("items") && schema["items"] == false;
    if (is_closed) {
      node.max = std::min(node.max, static_cast<uint32_t>(node.items.size()));
    } else {
      node.rest =
          schema.contains("items") ? value(schema["items"], place + "/items", depth + 1) : any();
    }
    check_bounds(node, place);
    return add(std::move(node));
  }

  static std::vector<std::string> required_names(const Json& schema, const std::string& place) {
    std::vector<std::string> names;
    if (!schema.contains("required")) return names;
    const Json& list = schema["required"];
    if (!list.is_array()) refuse(place + "/required", "expected a list of names");
    for (const Json& name : list) {
      if (!name.is_string()) refuse(place + "/required", "expected a list of names");
      names.push_back(name.get<std::string>());
    }
    return names;
  }

  NodeId object(const Json& schema, const std::string& place, int depth) {
    check(schema, place,
          {"type", "properties", "required", "additionalProperties", "minProperties",
           "maxProperties"});
    const bool declares = schema.contains("properties") && !schema["properties"].empty();
    if (declares && !schema["properties"].is_object()) {
      refuse(place + "/properties", "expected an object");
    }
    GrammarNode node;
    node.kind = Kind::kObject;
    if (schema.contains("additionalProperties")) {
      const Json& rest = schema["additionalProperties"];
      if (rest != false) node.rest = value(rest, place + "/additionalProperties", depth + 1);
    } else if (!declares) {
      node.rest = any();
    }
    std::set<std::string> left;
    for (std::string& name : required_names(schema, place)) left.insert(std::move(name));
    if (declares) {
      for (const auto& [name, inner] : schema["properties"].items()) {
        const NodeId of_value =
            value(inner, fmt::format("{}/properties/{}", place, name), depth + 1);
        add_property(node, name, of_value, left.erase(name) > 0);
      }
    }
    for (const std::string& name : left) {
      // Required and not declared: a further member, if there may be any.
      const NodeId of_value = schema.contains("additionalProperties") ? node.rest : any();
      if (of_value == GrammarNode::kNone) {
        refuse(place + "/required", quote_text(name) + " is neither declared nor allowed");
      }
      add_property(node, name, of_value, true);
    }
    bound_members(node, schema, place);
    if (node.rest != GrammarNode::kNone) {
      const NodeId name = plain(Kind::kString);
      if (node.properties.empty()) {
        node.rest_key = name;
        return add(std::move(node));
      }
      GrammarNode key;
      key.rest = name;
      key.kind = Kind::kKey;
      for (const GrammarNode::Property& property : node.properties) {
        key.taken.push_back(property.key.substr(1));
      }
      std::sort(key.taken.begin(), key.taken.end());
      node.rest_key = add(std::move(key));
    }
    return add(std::move(node));
  }

  static void bound_members(GrammarNode& node, const Json& schema, const std::string& place) {
    node.min = bound(schema, "minProperties", 0, place);
    node.max = bound(schema, "maxProperties", GrammarNode::kNoMaximum, place);
    check_bounds(node, place);
    uint32_t n_required = 0;
    for (const GrammarNode::Property& property : node.properties) {
      n_required += property.required ? 1 : 0;
    }
    if (n_required > node.max) refuse(place + "/maxProperties", "more are required");
    if (node.min <= n_required) node.min = 0;
    if (node.rest == GrammarNode::kNone && node.min > node.properties.size()) {
      refuse(place + "/minProperties", "more than there are: nothing fits");
    }
    // Further members may repeat a name, and then they are one.
    if (node.rest != GrammarNode::kNone && node.min > 1) {
      refuse(place + "/minProperties",
             "above 1 it is supported where all members are declared, or as many are required");
    }
  }

  void add_property(GrammarNode& node, const std::string& name, NodeId of_value, bool required) {
    GrammarNode::Property property{dump_json(name), GrammarNode::kNone, of_value, required};
    property.key_node = literal(property.key);
    node.properties.push_back(std::move(property));
  }

  // Alternatives of alternatives become one list, each part once: what begins is then found in one
  // step, and a schema that is nothing but itself is found out.
  void flatten(NodeId id) {
    if (grammar_.nodes[id].kind != Kind::kAlternatives) return;
    std::vector<NodeId> leaves, waiting{id};
    std::set<NodeId> seen{id};
    while (!waiting.empty()) {
      const NodeId next = waiting.back();
      waiting.pop_back();
      if (grammar_.nodes[next].kind != Kind::kAlternatives) {
        leaves.push_back(next);
        continue;
      }
      for (const NodeId item : grammar_.nodes[next].items) {
        if (seen.insert(item).second) waiting.push_back(item);
      }
    }
    n_leaves_ += leaves.size();
    if (n_leaves_ > kMaxLeaves) throw SchemaRefused{"the schema has too many alternatives"};
    if (leaves.empty()) throw SchemaRefused{"a $ref leads to itself and to nothing else"};
    std::sort(leaves.begin(), leaves.end());
    grammar_.nodes[id].items = std::move(leaves);
  }

  const Json& document_;
  Grammar grammar_;
  CompileBudget budget_;
  std::unordered_map<std::string, NodeId> strings_;  // by pattern, format and lengths
  std::unordered_map<std::string, NodeId> references_;
  NodeId any_ = GrammarNode::kNone, any_object_ = GrammarNode::kNone,
         any_array_ = GrammarNode::kNone;
  size_t n_leaves_ = 0;
};

}  // namespace

Result<Grammar> grammar_of_schema(const Json& schema, const std::string& param) {
  if (dump_json(schema).size() > kMaxSchemaBytes) {
    return ApiError{400, fmt::format("{}: expected at most {} bytes", param, kMaxSchemaBytes),
                    param};
  }
  try {
    return Compiler(schema).compile();
  } catch (const SchemaRefused& refused) {
    return ApiError{400, fmt::format("{}: {}", param, refused.message), param};
  }
}

Grammar grammar_of_any_object() { return Compiler(Json()).any_object(); }

Result<Grammar> grammar_of_choices(const std::vector<std::string>& texts,
                                   const std::string& param) {
  Grammar grammar;
  if (texts.size() > kMaxNodes) {
    return ApiError{400, fmt::format("{}: expected at most {} texts", param, kMaxNodes), param};
  }
  GrammarNode root;
  root.kind = Kind::kAlternatives;
  for (const std::string& text : texts) {
    if (text.empty()) return ApiError{400, param + ": a text cannot be empty", param};
    GrammarNode node;
    node.text = text;
    root.items.push_back(static_cast<NodeId>(grammar.nodes.size()));
    grammar.nodes.push_back(std::move(node));
  }
  grammar.root = static_cast<NodeId>(grammar.nodes.size());
  grammar.nodes.push_back(std::move(root));
  return grammar;
}

}  // namespace lockstep::serve
