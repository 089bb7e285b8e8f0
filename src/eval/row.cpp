#include "eval/row.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "lockstep/error.h"

namespace lockstep::eval {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

}  // namespace

void Row::fail(const char* key, const std::string& expected, const std::string& found) const {
  throw Error(ErrorCode::kInvalidArgument, fmt::format("{}: {}: expected {}, found {}", place_, key,
                                                       expected, quote_text(found)));
}

const nlohmann::json& Row::get(const char* key) const {
  const auto at = object_.find(key);
  if (at == object_.end()) fail(key, "a member of this name", "none");
  return *at;
}

std::string Row::text(const char* key) const {
  const nlohmann::json& value = get(key);
  if (value.is_number()) return value.dump();
  if (!value.is_string()) fail(key, "a string", value.type_name());
  return value;
}

std::string Row::text_or(const char* key, std::string otherwise) const {
  return has(key) ? text(key) : std::move(otherwise);
}

std::vector<std::string> Row::texts(const char* key) const {
  const nlohmann::json& value = get(key);
  if (!value.is_array()) fail(key, "a list of strings", value.type_name());
  std::vector<std::string> list;
  for (const nlohmann::json& entry : value) {
    if (!entry.is_string()) fail(key, "a list of strings", entry.type_name());
    list.push_back(entry);
  }
  return list;
}

std::vector<int64_t> Row::numbers(const char* key) const {
  const nlohmann::json& value = get(key);
  if (!value.is_array()) fail(key, "a list of numbers", value.type_name());
  std::vector<int64_t> list;
  for (const nlohmann::json& entry : value) {
    if (!entry.is_number_integer()) fail(key, "a list of numbers", entry.type_name());
    list.push_back(entry);
  }
  return list;
}

int64_t Row::positive(const char* key) const {
  const nlohmann::json& value = get(key);
  if (!value.is_number_integer() || value < 1) fail(key, "a positive number", value.dump());
  return value;
}

bool Row::flag(const char* key) const {
  const nlohmann::json& value = get(key);
  if (!value.is_boolean()) fail(key, "true or false", value.type_name());
  return value;
}

Row Row::object(const char* key) const {
  const nlohmann::json& value = get(key);
  if (!value.is_object()) fail(key, "an object", value.type_name());
  return {value, fmt::format("{}: {}", place_, key)};
}

size_t Row::index(const char* key, size_t n) const {
  const std::string found = text(key);
  if (found.size() == 1 && found[0] >= 'A' && found[0] <= 'Z') {
    const auto i = static_cast<size_t>(found[0] - 'A');
    if (i < n) return i;
  } else if (!found.empty() && found.size() < 4 &&
             std::ranges::all_of(found, [](char c) { return c >= '0' && c <= '9'; })) {
    const size_t i = std::stoul(found);
    if (i < n) return i;
  }
  fail(key, fmt::format("a number below {}, or a letter", n), found);
}

std::string Row::id() const {
  for (const char* key : {"id", "ind"}) {
    if (has(key) && (object_[key].is_string() || object_[key].is_number())) return text(key);
  }
  return place_.substr(place_.rfind(':') + 1);
}

void Row::only(std::initializer_list<std::string_view> keys) const {
  for (const auto& [key, value] : object_.items()) {
    if (std::ranges::find(keys, key) != keys.end()) continue;
    fail(key.c_str(), fmt::format("one of {}", fmt::join(keys, ", ")), key);
  }
}

void for_each_row(std::string_view jsonl, const std::string& file,
                  const std::function<void(const Row&)>& read) {
  for (size_t line = 1; !jsonl.empty(); ++line) {
    const size_t end = std::min(jsonl.find('\n'), jsonl.size());
    const std::string_view text = jsonl.substr(0, end);
    jsonl.remove_prefix(std::min(end + 1, jsonl.size()));
    if (text.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const std::string place = fmt::format("{}:{}", file, line);
    const auto object = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!object.is_object()) {
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("{}: expected a JSON object, found {}", place, quote_text(text)),
                  "a task's file is JSON lines: one row a line");
    }
    read(Row(object, place));
  }
}

std::string trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n\f\v";
  const size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return "";
  return std::string(text.substr(first, text.find_last_not_of(kBlank) - first + 1));
}

std::string replaced(std::string text, std::string_view what, std::string_view by) {
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size())) {
    text.replace(at, what.size(), by);
  }
  return text;
}

std::string capitalised(std::string text) {
  std::ranges::transform(text, text.begin(), lower);
  if (!text.empty() && text[0] >= 'a' && text[0] <= 'z') text[0] = static_cast<char>(text[0] - 32);
  return text;
}

double n_code_points(std::string_view utf8) noexcept {
  return static_cast<double>(std::ranges::count_if(
      utf8, [](char c) { return (static_cast<unsigned char>(c) & 0xc0u) != 0x80u; }));
}

}  // namespace lockstep::eval
