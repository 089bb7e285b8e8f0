// The fields of a request body, read with their types and ranges. The first thing that is wrong is
// kept, with the field's name; what is read after it does not count.
#pragma once

#include <simdjson.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "serve/api_error.h"

namespace lockstep::serve {

/// A parsed body. What refers into it is valid as long as it lives.
class RequestBody {
 public:
  /// Fails with 400 for anything but one JSON object in UTF-8, of at most 64 levels.
  explicit RequestBody(std::string_view json);
  RequestBody(const RequestBody&) = delete;
  RequestBody& operator=(const RequestBody&) = delete;

  simdjson::dom::object object() const { return object_; }
  std::optional<ApiError>& error() { return error_; }

 private:
  simdjson::dom::parser parser_;
  simdjson::dom::object object_;
  std::optional<ApiError> error_;
};

/// Members of one object. A null counts as absent, of equal names the last counts.
class Fields {
 public:
  Fields(simdjson::dom::object object, std::string path, std::optional<ApiError>& error);
  explicit Fields(RequestBody& body);

  bool has(std::string_view key) const { return find(key) != nullptr; }
  /// nullptr where absent or null.
  const simdjson::dom::element* find(std::string_view key) const;

  std::optional<bool> boolean(std::string_view key);
  bool boolean_or(std::string_view key, bool otherwise);
  std::optional<std::string> string(std::string_view key);
  /// Within [low, high]; a number without fraction such as 1.0 is an integer.
  std::optional<int64_t> integer(std::string_view key, int64_t low, int64_t high);
  std::optional<double> number(std::string_view key, double low, double high);
  std::optional<Fields> object(std::string_view key);
  std::optional<simdjson::dom::array> array(std::string_view key);
  /// A string or a list of strings.
  std::vector<std::string> strings(std::string_view key);
  /// A list of integers in [0, limit).
  std::vector<int32_t> token_ids(std::string_view key, size_t limit);

  /// Records that `key` is wrong: "<key>: <message>".
  void fail(std::string_view key, const std::string& message, int status = 400);
  /// As fail(): "expected <expected>, found <what stands there>".
  void fail_type(std::string_view key, std::string_view expected,
                 const simdjson::dom::element& found);
  bool failed() const { return error_->has_value(); }
  std::optional<ApiError>& error() { return *error_; }
  std::string path_of(std::string_view key) const;
  const std::unordered_map<std::string_view, simdjson::dom::element>& members() const {
    return members_;
  }

 private:
  std::unordered_map<std::string_view, simdjson::dom::element> members_;
  std::string path_;
  std::optional<ApiError>* error_;
};

// The value of an element that is of the kind. By value: a loop over what simdjson hands out by
// reference to a temporary would read after its end.
inline simdjson::dom::array array_of(const simdjson::dom::element& element) {
  return element.get_array().value_unsafe();
}
inline simdjson::dom::object object_of(const simdjson::dom::element& element) {
  return element.get_object().value_unsafe();
}

/// "a string", "an object", "-3": for messages.
std::string describe(const simdjson::dom::element& element);
/// An integer, or a number without fraction; nothing for others and what does not fit.
std::optional<int64_t> as_integer(const simdjson::dom::element& element);
/// The same value, members in their order.
nlohmann::ordered_json to_ordered_json(const simdjson::dom::element& element);

}  // namespace lockstep::serve
