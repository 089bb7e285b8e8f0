#include "serve/request_fields.h"

#include <fmt/format.h>

#include <cmath>

#include "base/text.h"
#include "text/utf8.h"

namespace lockstep::serve {
namespace {

using simdjson::dom::element;
using simdjson::dom::element_type;

constexpr size_t kMaxDepth = 64;

}  // namespace

RequestBody::RequestBody(std::string_view json) {
  if (const size_t at = text::find_invalid_utf8(json); at != json.npos) {
    error_ = ApiError{400, fmt::format("the body is not UTF-8: byte {}", at)};
    return;
  }
  element root;
  simdjson::error_code code = parser_.allocate(json.size(), kMaxDepth);
  if (code == simdjson::SUCCESS) code = parser_.parse(json.data(), json.size(), true).get(root);
  if (code != simdjson::SUCCESS) {
    error_ = ApiError{400, fmt::format("the body is not JSON: {}", simdjson::error_message(code))};
    return;
  }
  if (root.get(object_) != simdjson::SUCCESS) {
    error_ = ApiError{400, fmt::format("the body: expected an object, found {}", describe(root))};
  }
}

Fields::Fields(simdjson::dom::object object, std::string path, std::optional<ApiError>& error)
    : path_(std::move(path)), error_(&error) {
  for (const auto [key, value] : object) members_[key] = value;
}

Fields::Fields(RequestBody& body) : error_(&body.error()) {
  if (failed()) return;
  for (const auto [key, value] : body.object()) members_[key] = value;
}

const element* Fields::find(std::string_view key) const {
  const auto found = members_.find(key);
  return found == members_.end() || found->second.is_null() ? nullptr : &found->second;
}

std::optional<bool> Fields::boolean(std::string_view key) {
  const element* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_bool()) return value->get_bool().value_unsafe();
  fail_type(key, "true or false", *value);
  return std::nullopt;
}

bool Fields::boolean_or(std::string_view key, bool otherwise) {
  return boolean(key).value_or(otherwise);
}

std::optional<std::string> Fields::string(std::string_view key) {
  const element* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_string()) return std::string(value->get_string().value_unsafe());
  fail_type(key, "a string", *value);
  return std::nullopt;
}

std::optional<int64_t> Fields::integer(std::string_view key, int64_t low, int64_t high) {
  const element* value = find(key);
  if (value == nullptr) return std::nullopt;
  const std::optional<int64_t> number = as_integer(*value);
  if (!number.has_value()) {
    fail_type(key, "an integer", *value);
  } else if (*number < low || *number > high) {
    fail(key, high == INT64_MAX ? fmt::format("expected at least {}, found {}", low, *number)
                                : fmt::format("expected {} to {}, found {}", low, high, *number));
    return std::nullopt;
  }
  return number;
}

std::optional<double> Fields::number(std::string_view key, double low, double high) {
  const element* value = find(key);
  if (value == nullptr) return std::nullopt;
  double number = 0;
  if (!value->is_number() || value->get(number) != simdjson::SUCCESS) {
    fail_type(key, "a number", *value);
    return std::nullopt;
  }
  if (!(number >= low && number <= high)) {
    fail(key, std::isinf(high) ? fmt::format("expected at least {}, found {}", low, number)
                               : fmt::format("expected {} to {}, found {}", low, high, number));
    return std::nullopt;
  }
  return number;
}

std::optional<Fields> Fields::object(std::string_view key) {
  const element* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_object()) {
    return Fields(object_of(*value), path_of(key), *error_);
  }
  fail_type(key, "an object", *value);
  return std::nullopt;
}

std::optional<simdjson::dom::array> Fields::array(std::string_view key) {
  const element* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_array()) return array_of(*value);
  fail_type(key, "a list", *value);
  return std::nullopt;
}

std::vector<std::string> Fields::strings(std::string_view key) {
  const element* value = find(key);
  if (value == nullptr) return {};
  if (value->is_string()) return {std::string(value->get_string().value_unsafe())};
  if (!value->is_array()) {
    fail_type(key, "a string or a list of strings", *value);
    return {};
  }
  std::vector<std::string> all;
  for (const element item : array_of(*value)) {
    if (!item.is_string()) {
      fail_type(fmt::format("{}[{}]", key, all.size()), "a string", item);
      return {};
    }
    all.emplace_back(item.get_string().value_unsafe());
  }
  return all;
}

std::vector<int32_t> Fields::token_ids(std::string_view key, size_t limit) {
  const std::optional<simdjson::dom::array> list = array(key);
  std::vector<int32_t> ids;
  if (!list.has_value()) return ids;
  for (const element item : *list) {
    const std::optional<int64_t> id = as_integer(item);
    if (!id.has_value() || *id < 0 || *id >= static_cast<int64_t>(limit)) {
      fail_type(fmt::format("{}[{}]", key, ids.size()), fmt::format("a token id below {}", limit),
                item);
      return {};
    }
    ids.push_back(static_cast<int32_t>(*id));
  }
  return ids;
}

void Fields::fail(std::string_view key, const std::string& message, int status) {
  if (failed()) return;
  const std::string param = path_of(key);
  *error_ = ApiError{status, fmt::format("{}: {}", param, message), param};
}

void Fields::fail_type(std::string_view key, std::string_view expected, const element& found) {
  fail(key, fmt::format("expected {}, found {}", expected, describe(found)));
}

std::string Fields::path_of(std::string_view key) const {
  return path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key);
}

std::string describe(const element& value) {
  switch (value.type()) {
    case element_type::ARRAY:
      return "a list";
    case element_type::OBJECT:
      return "an object";
    case element_type::STRING:
      return quote_text(value.get_string().value_unsafe());
    case element_type::NULL_VALUE:
      return "null";
    default:
      return simdjson::minify(value);
  }
}

std::optional<int64_t> as_integer(const element& value) {
  if (value.is_int64()) return value.get_int64().value_unsafe();
  if (!value.is_double()) return std::nullopt;
  const double number = value.get_double().value_unsafe();
  // Doubles of this range hold whole numbers exactly.
  if (std::abs(number) > 9.0e15 || number != std::floor(number)) return std::nullopt;
  return static_cast<int64_t>(number);
}

nlohmann::ordered_json to_ordered_json(const element& value) {
  using Json = nlohmann::ordered_json;
  switch (value.type()) {
    case element_type::ARRAY: {
      Json list = Json::array();
      for (const element item : array_of(value)) {
        list.push_back(to_ordered_json(item));
      }
      return list;
    }
    case element_type::OBJECT: {
      Json object = Json::object();
      auto& members = object.get_ref<Json::object_t&>();
      // ordered_json looks names up one by one; a map keeps wide objects linear.
      std::unordered_map<std::string_view, size_t> places;
      for (const auto [key, item] : object_of(value)) {
        const auto [place, is_new] = places.emplace(key, members.size());
        if (is_new) {
          members.emplace_back(std::string(key), to_ordered_json(item));
        } else {
          (members.begin() + static_cast<ptrdiff_t>(place->second))->second = to_ordered_json(item);
        }
      }
      return object;
    }
    case element_type::STRING:
      return std::string(value.get_string().value_unsafe());
    case element_type::INT64:
      return value.get_int64().value_unsafe();
    case element_type::UINT64:
      return value.get_uint64().value_unsafe();
    case element_type::DOUBLE:
      return value.get_double().value_unsafe();
    case element_type::BOOL:
      return value.get_bool().value_unsafe();
    case element_type::NULL_VALUE:
      break;
  }
  return nullptr;
}

}  // namespace lockstep::serve
