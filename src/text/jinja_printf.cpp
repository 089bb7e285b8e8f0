// `format % values`.
#include <fmt/format.h>

#include <cmath>

#include "text/jinja_format.h"
#include "text/jinja_ops.h"
#include "text/jinja_unicode.h"

namespace lockstep::jinja {
namespace {

struct Conversion {
  bool left = false, zero = false, alternate = false;
  char sign = '-';
  Int width = -1;
  int precision = -1;
  char type = 's';
};

class Percent {
 public:
  Percent(const Value& format, const Value& values)
      : text_(format.text()), markup_(format.is_markup()), values_(values) {
    const bool is_mapping = !values.is(Kind::kTuple) && !values.is(Kind::kStr) &&
                            (values.is(Kind::kDict) || values.is(Kind::kList) ||
                             values.is(Kind::kRange) || values.is(Kind::kUndefined));
    is_mapping_ = is_mapping;
  }

  std::string run() {
    std::string out;
    while (pos_ < text_.size()) {
      const size_t percent = std::min(text_.find('%', pos_), text_.size());
      grow(out, std::string_view(text_).substr(pos_, percent - pos_));
      pos_ = percent;
      if (pos_ == text_.size()) break;
      ++pos_;
      grow(out, convert());
    }
    const size_t n = values_.is(Kind::kTuple) ? values_.items().size() : 1;
    if (!is_mapping_ && used_ < n) {
      fail("TypeError", "not all arguments converted during string formatting");
    }
    return out;
  }

 private:
  char peek() const {
    if (pos_ >= text_.size()) fail("ValueError", "incomplete format");
    return text_[pos_];
  }

  Value next() {
    if (values_.is(Kind::kTuple)) {
      if (used_ < values_.items().size()) return values_.items()[used_++];
    } else if (used_ == 0) {
      ++used_;
      return values_;
    }
    fail("TypeError", "not enough arguments for format string");
  }

  Int next_int() {
    const Value value = next();
    if (!value.is_integral()) fail("TypeError", "* wants int");
    return value.as_int();
  }

  Int read_number() {
    Int value = 0;
    while (peek() >= '0' && peek() <= '9') {
      value = value * 10 + (text_[pos_++] - '0');
      if (value > 1 << 30) fail("ValueError", "width too big");
    }
    return value;
  }

  std::string convert() {
    if (peek() == '%') {
      ++pos_;
      return "%";
    }
    Conversion c;
    Value keyed;
    if (peek() == '(') keyed = read_key();
    for (bool more = true; more;) {
      switch (peek()) {
        case '-':
          c.left = true;
          break;
        case '+':
          c.sign = '+';
          break;
        case ' ':
          if (c.sign == '-') c.sign = ' ';
          break;
        case '#':
          c.alternate = true;
          break;
        case '0':
          c.zero = true;
          break;
        default:
          more = false;
          continue;
      }
      ++pos_;
    }
    read_width(c);
    while (peek() == 'l' || peek() == 'h' || peek() == 'L') ++pos_;
    c.type = text_[pos_++];
    const Value value = keyed.is(Kind::kMissing) ? next() : keyed;
    return pad(write(c, value), c);
  }

  Value read_key() {
    if (!is_mapping_) fail("TypeError", "format requires a mapping");
    const size_t start = ++pos_;
    for (int depth = 1; depth > 0; ++pos_) {
      if (pos_ >= text_.size()) fail("ValueError", "incomplete format key");
      depth += text_[pos_] == '(' ? 1 : text_[pos_] == ')' ? -1 : 0;
    }
    const std::string key = text_.substr(start, pos_ - 1 - start);
    used_ = 1;
    if (values_.is(Kind::kUndefined)) fail_undefined(values_);
    if (!values_.is(Kind::kDict)) fail("TypeError", "indices must be integers or slices, not str");
    const Value* found = values_.dict().find(key);
    if (found == nullptr) fail("KeyError", repr_string(key));
    return *found;
  }

  void read_width(Conversion& c) {
    if (peek() == '*') {
      ++pos_;
      c.width = next_int();
      if (c.width < 0) {
        c.left = true;
        c.width = -c.width;
      }
    } else {
      c.width = read_number();
    }
    if (peek() != '.') return;
    ++pos_;
    Int precision = 0;
    if (peek() == '*') {
      ++pos_;
      precision = std::max<Int>(next_int(), 0);
    } else {
      precision = read_number();
    }
    c.precision = static_cast<int>(std::min<Int>(precision, 1 << 30));
  }

  /// What stands in for an argument of Markup is escaped.
  std::string shown(const Value& value, bool as_repr) const {
    std::string text = as_repr ? repr(value) : to_str(value);
    return markup_ && !(value.is_markup() && !as_repr) ? escape_html(text) : text;
  }

  NumberText write(const Conversion& c, const Value& value) const {
    const NumberStyle style{
        .type = c.type, .precision = c.precision, .alternate = c.alternate, .sign = c.sign};
    switch (c.type) {
      case 's':
      case 'r':
      case 'a': {
        std::string text = shown(value, c.type != 's');
        if (c.type == 'a') text = to_ascii(text);
        if (c.precision >= 0) text.resize(byte_offset(text, static_cast<size_t>(c.precision)));
        return {"", "", std::move(text)};
      }
      case 'c':
        return {"", "", character(value)};
      case 'd':
      case 'i':
      case 'u':
        return format_int(whole(value, c.type),
                          {.type = 'd', .precision = c.precision, .sign = c.sign});
      case 'o':
      case 'x':
      case 'X':
        if (value.is(Kind::kUndefined)) fail_undefined(value);
        if (!value.is_integral()) {
          fail("TypeError",
               fmt::format("%{} format: an integer is required, not {}", c.type, type_name(value)));
        }
        return format_int(value.as_int(), style);
      case 'e':
      case 'E':
      case 'f':
      case 'F':
      case 'g':
      case 'G':
        if (value.is(Kind::kUndefined)) fail_undefined(value);
        if (!value.is_number()) {
          fail("TypeError", fmt::format("must be real number, not {}", type_name(value)));
        }
        return format_float(value.as_double(), style);
      default:
        break;
    }
    fail("ValueError", fmt::format("unsupported format character '{}'", c.type));
  }

  static Int whole(const Value& value, char type) {
    if (value.is_integral()) return value.as_int();
    if (value.is(Kind::kUndefined)) fail_undefined(value);
    if (!value.is(Kind::kFloat)) {
      fail("TypeError",
           fmt::format("%{} format: a real number is required, not {}", type, type_name(value)));
    }
    const double number = value.as_double();
    if (std::isnan(number)) fail("ValueError", "cannot convert float NaN to integer");
    if (std::fabs(number) >= 0x1p126) fail("OverflowError", "cannot convert float to integer");
    return static_cast<Int>(number);
  }

  static std::string character(const Value& value) {
    if (value.is(Kind::kStr) && value.str().length == 1) return value.text();
    if (!value.is_integral()) fail("TypeError", "%c requires an int or a unicode character");
    if (value.as_int() < 0 || value.as_int() > 0x10ffff) {
      fail("OverflowError", "%c arg not in range(0x110000)");
    }
    std::string out;
    append_utf8(out, static_cast<char32_t>(value.as_int()));
    return out;
  }

  static std::string to_ascii(const std::string& text) {
    std::string out;
    for (size_t pos = 0; pos < text.size();) {
      const auto c = static_cast<uint32_t>(next_code_point(text, pos));
      if (c < 0x80) {
        out += static_cast<char>(c);
      } else {
        out += c < 0x100     ? fmt::format("\\x{:02x}", c)
               : c < 0x10000 ? fmt::format("\\u{:04x}", c)
                             : fmt::format("\\U{:08x}", c);
      }
    }
    return out;
  }

  static std::string pad(const NumberText& number, const Conversion& c) {
    std::string text = number.sign + number.prefix + number.digits;
    const Int missing = c.width - static_cast<Int>(count_code_points(text));
    if (missing <= 0) return text;
    check_string_size(static_cast<uint64_t>(missing));
    const auto n = static_cast<size_t>(missing);
    if (c.left) return text + std::string(n, ' ');
    const bool is_number = std::string_view("srac").find(c.type) == std::string_view::npos;
    if (c.zero && is_number)
      return number.sign + number.prefix + std::string(n, '0') + number.digits;
    return std::string(n, ' ') + text;
  }

  const std::string& text_;
  bool markup_;
  const Value& values_;
  bool is_mapping_ = false;
  size_t pos_ = 0;
  size_t used_ = 0;
};

}  // namespace

Value format_percent(const Value& format, const Value& values) {
  std::string out = Percent(format, values).run();
  return format.is_markup() ? Value::markup(std::move(out)) : Value::string(std::move(out));
}

}  // namespace lockstep::jinja
