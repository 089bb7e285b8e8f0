#include "parity/json_reader.h"

#include <fmt/format.h>

#include "base/file.h"
#include "lockstep/error.h"

namespace lockstep::parity {
namespace {

constexpr size_t kMaxManifestBytes = size_t{1} << 30;

/// Bare NaN, Infinity and -Infinity outside strings become null.
std::string without_bare_words(std::string_view json) {
  std::string out;
  out.reserve(json.size());
  bool quoted = false;
  for (size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (quoted) {
      out += c;
      if (c == '\\' && i + 1 < json.size()) out += json[++i];
      if (c == '"') quoted = false;
      continue;
    }
    bool replaced = false;
    for (const std::string_view word : {"-Infinity", "Infinity", "NaN"}) {
      if (json.substr(i, word.size()) == word) {
        out += "null";
        i += word.size() - 1;
        replaced = true;
        break;
      }
    }
    if (replaced) continue;
    quoted = c == '"';
    out += c;
  }
  return out;
}

}  // namespace

JsonFile::JsonFile(const std::filesystem::path& path)
    : file_(path.string()), text_(read_text_file(path, kMaxManifestBytes)) {
  if (parser_.parse(text_).get(root_) == simdjson::SUCCESS) return;
  text_ = without_bare_words(text_);
  if (const auto error = parser_.parse(text_).get(root_); error != simdjson::SUCCESS) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}: not JSON: {}", file_, simdjson::error_message(error)));
  }
}

void JsonFile::fail(const std::string& where, const std::string& what) const {
  throw Error(ErrorCode::kInvalidArgument, fmt::format("{}: {}: {}", file_, where, what));
}

std::optional<JsonElement> JsonFile::optional_field(JsonElement object, const char* key) const {
  JsonElement value;
  if (!object.is_object() || object.at_key(key).get(value) != simdjson::SUCCESS) return {};
  if (value.is_null()) return {};
  return value;
}

JsonElement JsonFile::field(JsonElement object, const char* key, const std::string& where) const {
  if (!object.is_object()) fail(where, "expected an object");
  const auto value = optional_field(object, key);
  if (!value) fail(where, fmt::format("\"{}\" is absent", key));
  return *value;
}

std::string JsonFile::text(JsonElement object, const char* key, const std::string& where) const {
  std::string_view out;
  if (field(object, key, where).get(out) != simdjson::SUCCESS) {
    fail(where, fmt::format("\"{}\" is not a string", key));
  }
  return std::string(out);
}

std::string JsonFile::text_or(JsonElement object, const char* key, std::string fallback) const {
  std::string_view out;
  const auto value = optional_field(object, key);
  if (!value || value->get(out) != simdjson::SUCCESS) return fallback;
  return std::string(out);
}

int64_t JsonFile::integer(JsonElement object, const char* key, const std::string& where) const {
  int64_t out = 0;
  if (field(object, key, where).get(out) != simdjson::SUCCESS) {
    fail(where, fmt::format("\"{}\" is not an integer", key));
  }
  return out;
}

int64_t JsonFile::integer_or(JsonElement object, const char* key, int64_t fallback,
                             const std::string& where) const {
  return optional_field(object, key) ? integer(object, key, where) : fallback;
}

simdjson::dom::array JsonFile::array(JsonElement element, const std::string& where) const {
  simdjson::dom::array out;
  if (element.get(out) != simdjson::SUCCESS) fail(where, "expected an array");
  return out;
}

std::vector<int64_t> JsonFile::integers(JsonElement element, const std::string& where) const {
  std::vector<int64_t> out;
  for (const JsonElement item : array(element, where)) {
    int64_t value = 0;
    if (item.get(value) != simdjson::SUCCESS) fail(where, "expected integers");
    out.push_back(value);
  }
  return out;
}

std::vector<double> JsonFile::numbers(JsonElement element, const std::string& where) const {
  std::vector<double> out;
  for (const JsonElement item : array(element, where)) {
    double value = 0;
    if (item.get(value) != simdjson::SUCCESS) fail(where, "expected numbers");
    out.push_back(value);
  }
  return out;
}

int config_layers(JsonElement config) {
  for (const char* key : {"num_hidden_layers", "n_layer", "num_layers", "n_layers"}) {
    int64_t value = 0;
    if (config.is_object() && config.at_key(key).get(value) == simdjson::SUCCESS && value > 0 &&
        value < 100000) {
      return static_cast<int>(value);
    }
  }
  JsonElement text;
  if (config.is_object() && config.at_key("text_config").get(text) == simdjson::SUCCESS) {
    return config_layers(text);
  }
  return 0;
}

int config_count(JsonElement config, std::initializer_list<const char*> keys) {
  for (const char* key : keys) {
    int64_t value = 0;
    if (config.is_object() && config.at_key(key).get(value) == simdjson::SUCCESS && value > 0 &&
        value < 1000000) {
      return static_cast<int>(value);
    }
  }
  JsonElement text;
  if (config.is_object() && config.at_key("text_config").get(text) == simdjson::SUCCESS) {
    return config_count(text, keys);
  }
  return 0;
}

bool config_has_experts(JsonElement config) {
  for (const char* key : {"num_local_experts", "num_experts", "n_routed_experts"}) {
    int64_t value = 0;
    if (config.is_object() && config.at_key(key).get(value) == simdjson::SUCCESS && value > 1) {
      return true;
    }
  }
  JsonElement text;
  return config.is_object() && config.at_key("text_config").get(text) == simdjson::SUCCESS &&
         config_has_experts(text);
}

}  // namespace lockstep::parity
