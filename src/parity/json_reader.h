// Reading manifests: simdjson with errors that name the file and the field.
#pragma once

#include <simdjson.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep::parity {

using JsonElement = simdjson::dom::element;

/// A parsed file. Python's bare NaN and Infinity, which json.dump writes into configs, read as
/// null.
class JsonFile {
 public:
  /// Throws as read_text_file, and kInvalidArgument when it is not JSON.
  explicit JsonFile(const std::filesystem::path& path);
  JsonElement root() const { return root_; }
  const std::string& file() const noexcept { return file_; }

  /// Fields of `object`; they throw kInvalidArgument naming the file, `where` and the key when it
  /// is absent or of another kind. An absent or null key gives the default of the optional ones.
  JsonElement field(JsonElement object, const char* key, const std::string& where) const;
  std::optional<JsonElement> optional_field(JsonElement object, const char* key) const;
  std::string text(JsonElement object, const char* key, const std::string& where) const;
  std::string text_or(JsonElement object, const char* key, std::string fallback) const;
  int64_t integer(JsonElement object, const char* key, const std::string& where) const;
  int64_t integer_or(JsonElement object, const char* key, int64_t fallback,
                     const std::string& where) const;
  std::vector<int64_t> integers(JsonElement array, const std::string& where) const;
  std::vector<double> numbers(JsonElement array, const std::string& where) const;
  simdjson::dom::array array(JsonElement element, const std::string& where) const;
  [[noreturn]] void fail(const std::string& where, const std::string& what) const;

 private:
  std::string file_, text_;
  simdjson::dom::parser parser_;
  JsonElement root_;
};

/// Number of decoder layers that a model's config.json (an object) states; 0 when it does not.
int config_layers(JsonElement config);
bool config_has_experts(JsonElement config);
/// The first of `keys` with a positive value, here or under text_config; 0 without one.
int config_count(JsonElement config, std::initializer_list<const char*> keys);

}  // namespace lockstep::parity
