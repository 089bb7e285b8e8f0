// Reading JSON into a tree, with the line of every error.
#include "hub/json_tree.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>
#include <unordered_set>

#include "base/text.h"
#include "lockstep/error.h"

namespace lockstep {
namespace {

namespace ondemand = simdjson::ondemand;
using Kind = ConfigFile::Kind;

// The names that Python's json module writes for what JSON has no numbers for.
std::optional<double> special_number(std::string_view token) {
  if (token == "Infinity") return std::numeric_limits<double>::infinity();
  if (token == "-Infinity") return -std::numeric_limits<double>::infinity();
  if (token == "NaN") return std::numeric_limits<double>::quiet_NaN();
  return std::nullopt;
}

std::string_view trimmed(std::string_view token) {
  while (!token.empty() && std::string_view(" \t\r\n").find(token.back()) != token.npos) {
    token.remove_suffix(1);
  }
  return token;
}

size_t last_line(std::string_view json) {
  return 1 + static_cast<size_t>(std::count(json.begin(), json.end(), '\n'));
}

// simdjson says that a text is not UTF-8, or that a string does not end or holds a control
// character, without saying where.
size_t find_bad_line(std::string_view json) {
  size_t line = 1;
  for (size_t begin = 0; begin < json.size(); ++line) {
    const size_t end = std::min(json.find('\n', begin), json.size());
    const std::string_view text = json.substr(begin, end - begin);
    if (!simdjson::validate_utf8(text)) return line;
    bool in_string = false;
    for (size_t i = 0; i < text.size(); ++i) {
      if (in_string && static_cast<unsigned char>(text[i]) < 0x20) return line;
      if (in_string && text[i] == '\\') {
        ++i;
      } else if (text[i] == '"') {
        in_string = !in_string;
      }
    }
    if (in_string) return line;
    begin = end + 1;
  }
  return last_line(json);
}

class TreeBuilder {
 public:
  TreeBuilder(std::string_view json, const std::string& file) : file_(file), padded_(json) {}

  JsonNodePtr build() {
    const std::string_view bytes(padded_.data(), padded_.size());
    if (bytes.starts_with("\xef\xbb\xbf")) {
      fail_at(1, "expected JSON, found a byte order mark before it");
    }
    const simdjson::error_code error = parser_.iterate(padded_).get(document_);
    if (error != simdjson::SUCCESS) {
      fail_at(find_bad_line(bytes),
              fmt::format("expected one JSON object, found: {}", simdjson::error_message(error)));
    }
    ondemand::object object;
    const simdjson::error_code kind = document_.get_object().get(object);
    if (kind == simdjson::INCOMPLETE_ARRAY_OR_OBJECT) {
      fail_at(last_line(bytes), "expected the object to end with }, found other text or the end");
    }
    check(kind, "an object");
    JsonNodePtr root = build_object(object, 1);
    if (document_.current_location().error() == simdjson::SUCCESS) {
      fail("nothing after the object", "more text");
    }
    return root;
  }

 private:
  [[noreturn]] void fail_at(size_t line, std::string_view what) const {
    throw Error(ErrorCode::kInvalidArgument, fmt::format("{}:{}: {}", file_, line, what),
                "the file is damaged, or was edited by hand; fetch it again");
  }
  [[noreturn]] void fail(std::string_view expected, std::string_view found) {
    fail_at(line(), fmt::format("expected {}, found {}", expected, found));
  }
  void check(simdjson::error_code error, std::string_view expected) {
    if (error != simdjson::SUCCESS) fail(expected, simdjson::error_message(error));
  }
  size_t line() {
    const char* at = nullptr;
    const char* begin = padded_.data();
    const char* end = begin + padded_.size();
    if (document_.current_location().get(at) != simdjson::SUCCESS) at = end;
    return 1 + static_cast<size_t>(std::count(begin, std::clamp(at, begin, end), '\n'));
  }

  JsonNodePtr build_object(ondemand::object object, int depth) {
    check_depth(depth);
    auto node = std::make_shared<JsonNode>();
    node->kind = Kind::kObject;
    std::unordered_set<std::string> names;
    for (auto result : object) {
      ondemand::field field;
      check(std::move(result).get(field), "a member of an object");
      std::string_view key;
      check(field.unescaped_key().get(key), "a key in quotes");
      if (!names.emplace(key).second) fail("each key once", quote_text(key) + " twice");
      // Copied before the value is read, which may overwrite the parser's buffer.
      std::string name(key);
      node->members.emplace_back(std::move(name), build_value(field.value(), depth));
    }
    return decode_special(std::move(node));
  }

  JsonNodePtr build_array(ondemand::array array, int depth) {
    check_depth(depth);
    auto node = std::make_shared<JsonNode>();
    node->kind = Kind::kArray;
    for (auto result : array) {
      ondemand::value value;
      check(std::move(result).get(value), "an element of an array");
      node->elements.push_back(build_value(value, depth));
    }
    return node;
  }

  JsonNodePtr build_value(ondemand::value value, int depth) {
    const std::string_view token = trimmed(value.raw_json_token());
    if (token.starts_with('{')) {
      ondemand::object object;
      check(value.get_object().get(object), "an object");
      return build_object(object, depth + 1);
    }
    if (token.starts_with('[')) {
      ondemand::array array;
      check(value.get_array().get(array), "an array");
      return build_array(array, depth + 1);
    }
    auto node = std::make_shared<JsonNode>();
    if (token.starts_with('"')) {
      std::string_view text;
      check(value.get_string().get(text), "a string");
      node->kind = Kind::kString;
      node->text = text;
    } else if (token.starts_with('t') || token.starts_with('f')) {
      check(value.get_bool().get(node->boolean), "true or false");
      node->kind = Kind::kBool;
    } else if (token.starts_with('n')) {
      if (token != "null") fail("null", quote_text(token));
      bool is_null = false;
      check(value.is_null().get(is_null), "a comma or the end after null");
    } else {
      build_number(value, token, *node);
    }
    return node;
  }

  void build_number(ondemand::value value, std::string_view token, JsonNode& node) {
    if (const std::optional<double> special = special_number(token)) {
      node.kind = Kind::kFloat;
      node.number = *special;
      // Consumes the token; that it is no JSON number is known.
      static_cast<void>(value.get_double().error());
      return;
    }
    if (integer_digits(token) > 18) {
      // Beyond 64 bits simdjson has no number, Python has one.
      const char* end = token.data() + token.size();
      const auto whole = std::from_chars(token.data(), end, node.integer);
      const auto real = std::from_chars(token.data(), end, node.number);
      if (real.ec != std::errc() || real.ptr != end) fail("a finite number", quote_text(token));
      node.kind = whole.ec == std::errc() ? Kind::kInt : Kind::kFloat;
      static_cast<void>(value.get_double().error());
      return;
    }
    ondemand::number number;
    check(value.get_number().get(number), "a value");
    node.number = number.as_double();
    node.kind = number.is_int64() ? Kind::kInt : Kind::kFloat;
    if (number.is_int64()) node.integer = number.get_int64();
  }

  // Digits of a token that is an integer as JSON writes it; 0 for anything else.
  static size_t integer_digits(std::string_view token) {
    if (token.starts_with('-')) token.remove_prefix(1);
    if (token.empty() || token.front() == '0') return 0;
    const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
    return std::all_of(token.begin(), token.end(), is_digit) ? token.size() : 0;
  }

  // {"__float__": "Infinity"} is how transformers writes what JSON has no number for.
  static JsonNodePtr decode_special(JsonNodePtr node) {
    if (node->members.size() != 1 || node->members[0].first != "__float__") return node;
    const JsonNode& value = *node->members[0].second;
    if (value.kind != Kind::kString) return node;
    const std::optional<double> special = special_number(value.text);
    if (!special.has_value()) return node;
    auto number = std::make_shared<JsonNode>();
    number->kind = Kind::kFloat;
    number->number = *special;
    return number;
  }

  void check_depth(int depth) {
    if (depth > kMaxJsonDepth) {
      fail(fmt::format("at most {} levels of nesting", kMaxJsonDepth), "more");
    }
  }

  const std::string& file_;
  simdjson::padded_string padded_;
  ondemand::parser parser_;
  ondemand::document document_;
};

}  // namespace

JsonNodePtr JsonNode::member(std::string_view name) const {
  for (const JsonMember& entry : members) {
    if (entry.first == name) return entry.second;
  }
  return nullptr;
}

JsonNodePtr JsonNode::present(std::string_view name) const {
  JsonNodePtr found = member(name);
  return found != nullptr && found->kind != Kind::kNull ? found : nullptr;
}

JsonNode* JsonNode::child(std::string_view name) const {
  if (kind == Kind::kArray) {
    size_t index = 0;
    const char* end = name.data() + name.size();
    const auto [ptr, error] = std::from_chars(name.data(), end, index);
    if (error != std::errc() || ptr != end || index >= elements.size()) return nullptr;
    return elements[index].get();
  }
  for (const JsonMember& entry : resolved) {
    if (entry.first == name) return entry.second.get();
  }
  return member(name).get();
}

void JsonNode::mark_read() noexcept {
  if (was_read) return;
  was_read = true;
  for (const JsonNodePtr& twin : twins) twin->mark_read();
}

bool JsonNode::any_read() const noexcept {
  if (was_read) return true;
  const auto read = [](const JsonNodePtr& node) { return node->any_read(); };
  return std::any_of(elements.begin(), elements.end(), read) ||
         std::any_of(members.begin(), members.end(),
                     [&](const JsonMember& entry) { return read(entry.second); });
}

std::string_view kind_name(Kind kind) noexcept {
  switch (kind) {
    case Kind::kAbsent:
      return "nothing";
    case Kind::kNull:
      return "null";
    case Kind::kBool:
      return "a boolean";
    case Kind::kInt:
      return "an integer";
    case Kind::kFloat:
      return "a fraction";
    case Kind::kString:
      return "a string";
    case Kind::kArray:
      return "an array";
    case Kind::kObject:
      return "an object";
  }
  return "nothing";
}

bool same_value(const JsonNode& a, const JsonNode& b) noexcept {
  const auto is_number = [](Kind kind) { return kind == Kind::kInt || kind == Kind::kFloat; };
  if (is_number(a.kind) && is_number(b.kind)) return a.number == b.number;
  if (a.kind != b.kind || a.boolean != b.boolean || a.text != b.text) return false;
  return std::equal(a.elements.begin(), a.elements.end(), b.elements.begin(), b.elements.end(),
                    [](const auto& x, const auto& y) { return same_value(*x, *y); }) &&
         std::equal(a.members.begin(), a.members.end(), b.members.begin(), b.members.end(),
                    [](const JsonMember& x, const JsonMember& y) {
                      return x.first == y.first && same_value(*x.second, *y.second);
                    });
}

JsonNodePtr parse_json_tree(std::string_view json, const std::string& file) {
  return TreeBuilder(json, file).build();
}

}  // namespace lockstep
