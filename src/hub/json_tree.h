// JSON as config.json needs it: members in file order, Python's Infinity and NaN, and a mark on
// everything that was read.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hub/config.h"

namespace lockstep {

struct JsonNode;
using JsonNodePtr = std::shared_ptr<JsonNode>;
using JsonMember = std::pair<std::string, JsonNodePtr>;

struct JsonNode {
  ConfigFile::Kind kind = ConfigFile::Kind::kNull;
  int64_t integer = 0;
  double number = 0;  // also of an integer
  bool boolean = false;
  std::string text;
  std::vector<JsonNodePtr> elements;
  std::vector<JsonMember> members;
  /// Members under names the file does not use, built from `members`; looked up first.
  std::vector<JsonMember> resolved;
  bool was_read = false;
  /// What else counts as read when this is: the same value elsewhere in the file.
  std::vector<JsonNodePtr> twins;

  /// nullptr when there is none.
  JsonNodePtr member(std::string_view name) const;
  /// As member(), but nullptr also for null.
  JsonNodePtr present(std::string_view name) const;
  /// Its child, resolved ones first, of an object by name or of an array by index.
  JsonNode* child(std::string_view name) const;
  void mark_read() noexcept;
  bool any_read() const noexcept;
};

/// "an integer", "an object", ...
std::string_view kind_name(ConfigFile::Kind kind) noexcept;
bool same_value(const JsonNode& a, const JsonNode& b) noexcept;

/// The object that `json` is. Throws kInvalidArgument naming `file` and line for anything that is
/// not one JSON object of at most kMaxJsonDepth levels without duplicate keys.
JsonNodePtr parse_json_tree(std::string_view json, const std::string& file);
inline constexpr int kMaxJsonDepth = 64;

/// Adds `rope_parameters` and `dtype` to an object of either generation of keys.
void resolve_generations(JsonNode& object, const std::string& file);

}  // namespace lockstep
