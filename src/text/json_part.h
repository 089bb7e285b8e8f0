// A part of tokenizer.json with its place in the file, so that every complaint can name both.
#pragma once

#include <simdjson.h>

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep::text {

class JsonPart {
 public:
  JsonPart(simdjson::dom::element element, const std::string* file, std::string path)
      : element_(element), file_(file), path_(std::move(path)) {}

  /// The member `key` of this object. Throws kInvalidArgument naming file, place, expected and
  /// found when this is no object or has none.
  JsonPart member(std::string_view key) const;
  /// nullopt when absent or null.
  std::optional<JsonPart> optional(std::string_view key) const;
  /// The elements of this array.
  std::vector<JsonPart> elements() const;

  // The value itself; throw as member() when it is of another kind.
  std::string_view as_string() const;
  bool as_bool() const;
  double as_number() const;
  /// An integer in [0, 2^31): ids and counts.
  uint32_t as_id() const;
  /// One character.
  char32_t as_character() const;
  simdjson::dom::array as_array() const;
  simdjson::dom::object as_object() const;
  bool is_string() const noexcept { return element_.is_string(); }
  bool is_array() const noexcept { return element_.is_array(); }

  // Members, with what holds where they are absent or null.
  bool bool_or(std::string_view key, bool otherwise) const;
  std::string string_or(std::string_view key, std::string_view otherwise) const;

  /// Throws kInvalidArgument: "<file>: <place>: expected <expected>, found <found>".
  [[noreturn]] void fail(std::string_view expected, std::string_view found) const;
  /// Throws kUnimplemented naming the "type" found here and those that are supported.
  [[noreturn]] void fail_type(std::string_view what,
                              std::initializer_list<std::string_view> supported) const;
  /// "<file>: <place>", for other messages.
  std::string place() const;
  /// What stands here, in words and shortened: "an object", "\"abc\"".
  std::string describe() const;

 private:
  simdjson::dom::element element_;
  const std::string* file_;
  std::string path_;  // "pre_tokenizer.pretokenizers[1]"; empty for the whole file
};

/// A parsed file. Parts of it are valid as long as it lives.
class JsonFile {
 public:
  /// Throws kInvalidArgument naming `file`, line and column for anything but one JSON object.
  JsonFile(std::string_view json, std::string file);
  JsonFile(const JsonFile&) = delete;
  JsonFile& operator=(const JsonFile&) = delete;

  JsonPart root() const { return {root_, &file_, ""}; }

 private:
  std::string file_;
  simdjson::dom::parser parser_;
  simdjson::dom::element root_;
};

}  // namespace lockstep::text
