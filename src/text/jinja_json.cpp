#include "text/jinja_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "text/jinja_unicode.h"

namespace lockstep::jinja {
namespace {

class Dumper {
 public:
  explicit Dumper(const JsonStyle& style) : style_(style) {}

  std::string out;

  void dump(const Value& value) {
    const Nested nested;
    switch (value.kind()) {
      case Kind::kNone:
        return grow(out, "null");
      case Kind::kBool:
        return grow(out, value.as_int() != 0 ? "true" : "false");
      case Kind::kInt:
        return grow(out, int_to_string(value.as_int()));
      case Kind::kFloat:
        return grow(out, number(value.as_double()));
      case Kind::kStr:
        return string(value.text());
      case Kind::kList:
      case Kind::kTuple:
        return list(value.items());
      case Kind::kDict:
        return dict(value.dict());
      default:
        fail("TypeError",
             fmt::format("Object of type {} is not JSON serializable", type_name(value)));
    }
  }

 private:
  static std::string number(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
    return repr_float(value);
  }

  void string(std::string_view text) {
    out += '"';
    const size_t start = out.size();
    for (size_t pos = 0; pos < text.size();) {
      const size_t at = pos;
      const auto c = static_cast<uint32_t>(next_code_point(text, pos));
      static constexpr std::string_view kPlain = "\b\f\n\r\t\"\\", kLetters = "bfnrt\"\\";
      if (const size_t i = c < 0x80 ? kPlain.find(static_cast<char>(c)) : kPlain.npos;
          i != kPlain.npos) {
        out += '\\';
        out += kLetters[i];
      } else if (c < 0x20 || (style_.ascii && c > 0x7e)) {
        escape(c);
      } else {
        out.append(text, at, pos - at);
      }
    }
    check_string_size(out.size() - start);
    out += '"';
  }

  void escape(uint32_t c) {
    if (c < 0x10000) {
      out += fmt::format("\\u{:04x}", c);
    } else {
      c -= 0x10000;
      out += fmt::format("\\u{:04x}\\u{:04x}", 0xd800 + (c >> 10), 0xdc00 + (c & 0x3ff));
    }
  }

  void line() {
    if (!style_.pretty) return;
    out += '\n';
    for (int i = 0; i < level_; ++i) grow(out, style_.indent);
  }

  /// Between two items, and before the first.
  void separate(bool is_first) {
    if (!is_first) grow(out, style_.item_separator);
    line();
  }

  void list(const std::vector<Value>& items) {
    if (items.empty()) return grow(out, "[]");
    out += '[';
    ++level_;
    bool is_first = true;
    for (const Value& item : items) {
      separate(is_first);
      dump(item);
      is_first = false;
    }
    --level_;
    line();
    out += ']';
  }

  void dict(const Dict& dict) {
    if (dict.items().empty()) return grow(out, "{}");
    std::vector<Dict::Item> items = dict.items();
    if (style_.sort_keys) {
      std::stable_sort(items.begin(), items.end(), [](const Dict::Item& a, const Dict::Item& b) {
        return compare(a.first, b.first, Order::kLess);
      });
    }
    out += '{';
    ++level_;
    bool is_first = true;
    for (const auto& [key, value] : items) {
      separate(is_first);
      string(key_text(key));
      grow(out, style_.key_separator);
      dump(value);
      is_first = false;
    }
    --level_;
    line();
    out += '}';
  }

  static std::string key_text(const Value& key) {
    switch (key.kind()) {
      case Kind::kStr:
        return key.text();
      case Kind::kNone:
        return "null";
      case Kind::kBool:
        return key.as_int() != 0 ? "true" : "false";
      case Kind::kInt:
        return int_to_string(key.as_int());
      case Kind::kFloat:
        return number(key.as_double());
      default:
        fail("TypeError",
             fmt::format("keys must be str, int, float, bool or None, not {}", type_name(key)));
    }
  }

  const JsonStyle& style_;
  int level_ = 0;
};

}  // namespace

Value from_json(const nlohmann::ordered_json& json) {
  const Nested nested;
  using Type = nlohmann::ordered_json::value_t;
  switch (json.type()) {
    case Type::boolean:
      return Value::boolean(json.get<bool>());
    case Type::number_integer:
      return Value::integer(json.get<int64_t>());
    case Type::number_unsigned:
      return Value::integer(json.get<uint64_t>());
    case Type::number_float:
      return Value::real(json.get<double>());
    case Type::string: {
      const auto& text = json.get_ref<const std::string&>();
      if (!is_valid_utf8(text)) fail("ValueError", "a string of the input is not UTF-8");
      return Value::string(text);
    }
    case Type::array: {
      std::vector<Value> items;
      items.reserve(json.size());
      for (const auto& item : json) items.push_back(from_json(item));
      return Value::list(std::move(items));
    }
    case Type::object: {
      std::vector<Dict::Item> items;
      items.reserve(json.size());
      for (const auto& [key, value] : json.items()) {
        if (!is_valid_utf8(key)) fail("ValueError", "a key of the input is not UTF-8");
        items.emplace_back(Value::string(key), from_json(value));
      }
      return Dict::make(std::move(items));
    }
    case Type::null:
    case Type::binary:
    case Type::discarded:
      break;
  }
  return Value::none();
}

std::string to_json(const Value& value, const JsonStyle& style) {
  Dumper dumper(style);
  dumper.dump(value);
  return std::move(dumper.out);
}

}  // namespace lockstep::jinja
