#include "text/json_part.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/text.h"
#include "lockstep/error.h"
#include "text/utf8.h"

namespace lockstep::text {
namespace {

using simdjson::dom::element_type;

constexpr const char* kDamaged = "the file is damaged, or was edited by hand; fetch it again";

// simdjson does not say where it stopped; the other parser does.
std::string syntax_error(std::string_view json, const char* otherwise) {
  if (const size_t at = find_invalid_utf8(json); at != json.npos) {
    return fmt::format("byte {} is not UTF-8", at);
  }
  try {
    const nlohmann::json parsed = nlohmann::json::parse(json);
    if (parsed.is_discarded()) return otherwise;
  } catch (const nlohmann::json::parse_error& error) {
    const std::string_view message = error.what();
    const size_t at = message.find("line ");
    return std::string(at == message.npos ? message : message.substr(at));
  } catch (const nlohmann::json::exception& error) {
    return error.what();
  }
  return otherwise;
}

}  // namespace

JsonPart JsonPart::member(std::string_view key) const {
  simdjson::dom::element found;
  if (as_object().at_key(key).get(found) != simdjson::SUCCESS) {
    fail(fmt::format("a member {}", quote_text(key)), "none");
  }
  return {found, file_, path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key)};
}

std::optional<JsonPart> JsonPart::optional(std::string_view key) const {
  simdjson::dom::element found;
  if (as_object().at_key(key).get(found) != simdjson::SUCCESS || found.is_null()) {
    return std::nullopt;
  }
  return member(key);
}

std::vector<JsonPart> JsonPart::elements() const {
  std::vector<JsonPart> parts;
  for (const simdjson::dom::element element : as_array()) {
    parts.emplace_back(element, file_, fmt::format("{}[{}]", path_, parts.size()));
  }
  return parts;
}

std::string_view JsonPart::as_string() const {
  std::string_view value;
  if (element_.get_string().get(value) != simdjson::SUCCESS) fail("a string", describe());
  return value;
}

bool JsonPart::as_bool() const {
  bool value = false;
  if (element_.get_bool().get(value) != simdjson::SUCCESS) fail("true or false", describe());
  return value;
}

double JsonPart::as_number() const {
  double value = 0;
  if (element_.get_double().get(value) != simdjson::SUCCESS) fail("a number", describe());
  return value;
}

uint32_t JsonPart::as_id() const {
  int64_t value = 0;
  if (element_.get_int64().get(value) != simdjson::SUCCESS || value < 0 || value > INT32_MAX) {
    fail("an integer from 0 to 2147483647", describe());
  }
  return static_cast<uint32_t>(value);
}

char32_t JsonPart::as_character() const {
  const std::string_view text = as_string();
  if (count_code_points(text) != 1) fail("one character", describe());
  size_t at = 0;
  return next_code_point(text, at);
}

simdjson::dom::array JsonPart::as_array() const {
  simdjson::dom::array value;
  if (element_.get_array().get(value) != simdjson::SUCCESS) fail("an array", describe());
  return value;
}

simdjson::dom::object JsonPart::as_object() const {
  simdjson::dom::object value;
  if (element_.get_object().get(value) != simdjson::SUCCESS) fail("an object", describe());
  return value;
}

bool JsonPart::bool_or(std::string_view key, bool otherwise) const {
  const std::optional<JsonPart> part = optional(key);
  return part.has_value() ? part->as_bool() : otherwise;
}

std::string JsonPart::string_or(std::string_view key, std::string_view otherwise) const {
  const std::optional<JsonPart> part = optional(key);
  return std::string(part.has_value() ? part->as_string() : otherwise);
}

void JsonPart::fail(std::string_view expected, std::string_view found) const {
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("{}: expected {}, found {}", place(), expected, found), kDamaged);
}

void JsonPart::fail_type(std::string_view what,
                         std::initializer_list<std::string_view> supported) const {
  throw Error(ErrorCode::kUnimplemented,
              fmt::format("{}: {} of type {} is not supported", place(), what,
                          quote_text(string_or("type", ""))),
              fmt::format("supported are {}", fmt::join(supported, ", ")));
}

std::string JsonPart::place() const {
  return path_.empty() ? *file_ : fmt::format("{}: {}", *file_, path_);
}

std::string JsonPart::describe() const {
  switch (element_.type()) {
    case element_type::ARRAY:
      return "an array";
    case element_type::OBJECT:
      return "an object";
    case element_type::NULL_VALUE:
      return "null";
    case element_type::STRING:
      return quote_text(as_string());
    default:
      return simdjson::minify(element_);
  }
}

JsonFile::JsonFile(std::string_view json, std::string file) : file_(std::move(file)) {
  const simdjson::error_code error = parser_.parse(json.data(), json.size(), true).get(root_);
  if (error != simdjson::SUCCESS) {
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("{}: not JSON: {}", file_, syntax_error(json, simdjson::error_message(error))),
        kDamaged);
  }
  static_cast<void>(root().as_object());
}

}  // namespace lockstep::text
