// `format.format(...)`.
#include <fmt/format.h>

#include "text/jinja_format.h"
#include "text/jinja_ops.h"

namespace lockstep::jinja {
namespace {

class Braces {
 public:
  Braces(const Arguments& arguments, bool markup) : arguments_(arguments), markup_(markup) {}

  std::string run(std::string_view text, int depth) {
    if (depth < 0) fail("ValueError", "Max string recursion exceeded");
    std::string out;
    for (size_t pos = 0; pos < text.size();) {
      const char c = text[pos++];
      if (c != '{' && c != '}') {
        out += c;
        continue;
      }
      if (pos < text.size() && text[pos] == c) {
        out += c;
        ++pos;
      } else if (c == '}') {
        fail("ValueError", "Single '}' encountered in format string");
      } else {
        grow(out, field(read_field(text, pos), depth));
      }
    }
    check_string_size(out.size());
    return out;
  }

 private:
  /// The text of a field, without its braces.
  static std::string_view read_field(std::string_view text, size_t& pos) {
    const size_t start = pos;
    if (pos >= text.size()) fail("ValueError", "Single '{' encountered in format string");
    bool in_brackets = false;
    for (int depth = 1; pos < text.size(); ++pos) {
      if (text[pos] == '[') in_brackets = true;
      if (text[pos] == ']') in_brackets = false;
      if (in_brackets) continue;
      if (text[pos] == '{') ++depth;
      if (text[pos] == '}' && --depth == 0) return text.substr(start, pos++ - start);
    }
    fail("ValueError", "expected '}' before end of string");
  }

  std::string field(std::string_view text, int depth) {
    size_t end = 0;
    bool in_brackets = false;
    while (end < text.size() && (in_brackets || (text[end] != ':' && text[end] != '!'))) {
      if (text[end] == '{') fail("ValueError", "unexpected '{' in field name");
      if (text[end] == '[') in_brackets = true;
      if (text[end] == ']') in_brackets = false;
      ++end;
    }
    Value value = lookup(text.substr(0, end));
    if (end < text.size() && text[end] == '!') {
      if (end + 1 >= text.size())
        fail("ValueError", "end of string while looking for conversion specifier");
      value = convert(value, text[end + 1]);
      end += 2;
      if (end < text.size() && text[end] != ':') {
        fail("ValueError", "expected ':' after conversion specifier");
      }
    }
    std::string spec;
    if (end < text.size()) spec = run(text.substr(end + 1), depth - 1);
    if (!markup_) return format_value(value, spec);
    std::string shown = format_value(value, spec);
    return value.is_markup() ? shown : escape_html(shown);
  }

  static Value convert(const Value& value, char conversion) {
    switch (conversion) {
      case 's':
        return Value::string(to_str(value));
      case 'r':
        return Value::string(repr(value));
      case 'a':
        return format_percent(Value::string("%a"), Value::tuple({value}));
      default:
        break;
    }
    fail("ValueError", fmt::format("Unknown conversion specifier {}", conversion));
  }

  static bool is_number(std::string_view text) {
    return !text.empty() && text.size() < 10 &&
           text.find_first_not_of("0123456789") == std::string_view::npos;
  }

  Value lookup(std::string_view path) {
    const size_t end = std::min(path.find_first_of(".["), path.size());
    Value value = first(path.substr(0, end));
    size_t pos = end;
    while (pos < path.size()) {
      if (path[pos] == '.') {
        const size_t next = std::min(path.find_first_of(".[", pos + 1), path.size());
        if (next == pos + 1) fail("ValueError", "Empty attribute in format string");
        value =
            get_attribute(value, Value::string(std::string(path.substr(pos + 1, next - pos - 1))));
        pos = next;
      } else if (path[pos] == '[') {
        const size_t close = path.find(']', pos);
        if (close == path.npos) fail("ValueError", "Missing ']' in format string");
        const std::string key(path.substr(pos + 1, close - pos - 1));
        if (key.empty()) fail("ValueError", "Empty attribute in format string");
        value =
            get_item(value, is_number(key) ? Value::integer(std::stoi(key)) : Value::string(key));
        pos = close + 1;
      } else {
        fail("ValueError", "Only '.' or '[' may follow ']' in format field specifier");
      }
    }
    return value;
  }

  Value first(std::string_view name) {
    if (!name.empty() && !is_number(name)) {
      const Value* found = arguments_.find(name);
      if (found == nullptr) fail("KeyError", repr_string(name));
      return *found;
    }
    size_t index = 0;
    if (name.empty()) {
      if (numbered_ == Numbered::kByHand) {
        fail("ValueError",
             "cannot switch from manual field specification to automatic field numbering");
      }
      numbered_ = Numbered::kAutomatic;
      index = next_++;
    } else {
      if (numbered_ == Numbered::kAutomatic) {
        fail("ValueError",
             "cannot switch from automatic field numbering to manual field specification");
      }
      numbered_ = Numbered::kByHand;
      index = static_cast<size_t>(std::stoul(std::string(name)));
    }
    if (index >= arguments_.positional.size()) {
      fail("IndexError",
           fmt::format("Replacement index {} out of range for positional args tuple", index));
    }
    return arguments_.positional[index];
  }

  enum class Numbered : uint8_t { kNot, kAutomatic, kByHand };
  const Arguments& arguments_;
  bool markup_;
  Numbered numbered_ = Numbered::kNot;
  size_t next_ = 0;
};

}  // namespace

Value format_braces(const Value& format, const Arguments& arguments) {
  std::string out = Braces(arguments, format.is_markup()).run(format.text(), 2);
  return format.is_markup() ? Value::markup(std::move(out)) : Value::string(std::move(out));
}

}  // namespace lockstep::jinja
