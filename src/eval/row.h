// A row of a JSONL file: its members, and complaints that name file, line and member.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep::eval {

class Row {
 public:
  Row(const nlohmann::json& object, std::string place)
      : object_(object), place_(std::move(place)) {}

  /// All throw kInvalidArgument naming the place, the member, expected and found.
  bool has(const char* key) const { return object_.contains(key); }
  std::string text(const char* key) const;  // a number as it is written
  std::string text_or(const char* key, std::string otherwise) const;
  std::vector<std::string> texts(const char* key) const;
  std::vector<int64_t> numbers(const char* key) const;
  int64_t positive(const char* key) const;
  bool flag(const char* key) const;
  Row object(const char* key) const;
  /// A number below `n`, as such or as text, or a letter from A.
  size_t index(const char* key, size_t n) const;
  /// The row's own "id" or "ind", else its line.
  std::string id() const;
  /// No member but these.
  void only(std::initializer_list<std::string_view> keys) const;
  [[noreturn]] void fail(const char* key, const std::string& expected,
                         const std::string& found) const;

 private:
  const nlohmann::json& get(const char* key) const;

  const nlohmann::json& object_;
  std::string place_;  // "FILE:LINE"
};

/// Calls `read` with each line of `jsonl` that is not empty. Throws for a line that is no object.
void for_each_row(std::string_view jsonl, const std::string& file,
                  const std::function<void(const Row&)>& read);

std::string trimmed(std::string_view text);
std::string replaced(std::string text, std::string_view what, std::string_view by);
/// The first letter large, the others small, as Python's capitalize() does with ASCII.
std::string capitalised(std::string text);
double n_code_points(std::string_view utf8) noexcept;

}  // namespace lockstep::eval
