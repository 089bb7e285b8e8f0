#include "text/jinja_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "text/jinja_ops.h"
#include "text/jinja_unicode.h"

namespace lockstep::jinja {
namespace {

constexpr Int kMaxPrecision = 10000;

std::string digits_of(Int value, unsigned base, bool upper) {
  __extension__ typedef unsigned __int128 Unsigned;
  Unsigned rest = value < 0 ? -static_cast<Unsigned>(value) : static_cast<Unsigned>(value);
  std::string out;
  do {
    out += (upper ? "0123456789ABCDEF" : "0123456789abcdef")[static_cast<size_t>(rest % base)];
    rest /= base;
  } while (rest != 0);
  return {out.rbegin(), out.rend()};
}

std::string print_double(double value, int precision, char type, bool alternate) {
  const std::string pattern = fmt::format("%{}.*{}", alternate ? "#" : "", type);
  std::string out(400 + static_cast<size_t>(precision), '\0');
  const int n = std::snprintf(out.data(), out.size(), pattern.c_str(), precision, value);
  out.resize(static_cast<size_t>(n));
  return out;
}

/// As %g, but with a digit after the point, or else with an exponent.
std::string general_with_point(double value, int precision) {
  std::string text = print_double(value, precision, 'g', false);
  if (text.find('e') != std::string::npos) return text;
  std::string scientific = print_double(value, precision - 1, 'e', false);
  const size_t e = scientific.find('e');
  if (std::stoi(scientific.substr(e + 1)) < precision - 1) {
    return text.find('.') == std::string::npos ? text + ".0" : text;
  }
  std::string mantissa = scientific.substr(0, e);
  if (mantissa.find('.') != std::string::npos) {
    mantissa.erase(mantissa.find_last_not_of('0') + 1);
    if (mantissa.back() == '.') mantissa.pop_back();
  }
  return mantissa + scientific.substr(e);
}

/// `text` with `separator` after every third digit from the right, or every fourth.
std::string grouped(const std::string& digits, char separator, size_t every) {
  const size_t whole = std::min(digits.find_first_not_of("0123456789abcdefABCDEF"), digits.size());
  std::string out;
  for (size_t i = 0; i < whole; ++i) {
    if (i > 0 && (whole - i) % every == 0) out += separator;
    out += digits[i];
  }
  return out + digits.substr(whole);
}

struct Spec {
  std::string fill = " ";
  char align = '\0';
  bool zero_fills = false;  // between sign and digits of a number
  char sign = '-';
  bool alternate = false;
  Int width = 0;
  char grouping = '\0';
  int precision = -1;
  char type = '\0';
};

Int read_int(std::string_view text, size_t& pos, Int limit) {
  Int value = 0;
  while (pos < text.size() && text[pos] >= '0' && text[pos] <= '9') {
    value = value * 10 + (text[pos++] - '0');
    if (value > limit) fail("ValueError", "Too many decimal digits in format string");
  }
  return value;
}

bool is_align(char c) { return c == '<' || c == '>' || c == '=' || c == '^'; }

Spec parse_spec(std::string_view text) {
  Spec spec;
  size_t pos = 0;
  bool has_fill = false;
  const auto at = [&](char c) { return pos < text.size() && text[pos] == c; };
  if (!text.empty()) {
    size_t after = 0;
    next_code_point(text, after);
    if (after < text.size() && is_align(text[after])) {
      spec.fill = text.substr(0, after);
      spec.align = text[after];
      has_fill = true;
      pos = after + 1;
    } else if (is_align(text[0])) {
      spec.align = text[pos++];
    }
  }
  if (at('+') || at('-') || at(' ')) spec.sign = text[pos++];
  if (at('#')) {
    spec.alternate = true;
    ++pos;
  }
  // With a fill of its own the zero belongs to the width.
  if (at('0') && !has_fill) {
    spec.fill.assign(1, '0');
    spec.zero_fills = spec.align == '\0';
    ++pos;
  }
  spec.width = read_int(text, pos, static_cast<Int>(1) << 40);
  if (at(',') || at('_')) spec.grouping = text[pos++];
  if (at('.')) {
    const size_t start = ++pos;
    spec.precision = static_cast<int>(read_int(text, pos, 1 << 30));
    if (pos == start) fail("ValueError", "Format specifier missing precision");
  }
  if (pos < text.size()) spec.type = text[pos++];
  if (pos < text.size()) {
    fail("ValueError", fmt::format("Invalid format specifier '{}'", text));
  }
  return spec;
}

std::string padded(const NumberText& number, const Spec& spec, char default_align) {
  const char align = spec.align == '\0' ? default_align : spec.align;
  const size_t length =
      count_code_points(number.sign) + number.prefix.size() + count_code_points(number.digits);
  const Int missing = spec.width - static_cast<Int>(length);
  if (missing <= 0) return number.sign + number.prefix + number.digits;
  check_string_size(static_cast<uint64_t>(missing) * spec.fill.size());
  const auto fill = [&spec](Int n) {
    std::string out;
    for (Int i = 0; i < n; ++i) out += spec.fill;
    return out;
  };
  switch (align) {
    case '<':
      return number.sign + number.prefix + number.digits + fill(missing);
    case '^':
      return fill(missing / 2) + number.sign + number.prefix + number.digits +
             fill(missing - missing / 2);
    case '=':
      return number.sign + number.prefix + fill(missing) + number.digits;
    default:
      return fill(missing) + number.sign + number.prefix + number.digits;
  }
}

std::string format_text(const std::string& text, const Spec& spec) {
  if (spec.type != '\0' && spec.type != 's') {
    fail("ValueError", fmt::format("Unknown format code '{}' for object of type 'str'", spec.type));
  }
  if (spec.sign != '-') fail("ValueError", "Sign not allowed in string format specifier");
  if (spec.alternate) {
    fail("ValueError", "Alternate form (#) not allowed in string format specifier");
  }
  if (spec.align == '=') {
    fail("ValueError", "'=' alignment not allowed in string format specifier");
  }
  if (spec.grouping != '\0') fail("ValueError", "Cannot specify ',' with 's'.");
  std::string shown = text;
  if (spec.precision >= 0) shown.resize(byte_offset(text, static_cast<size_t>(spec.precision)));
  return padded({"", "", std::move(shown)}, spec, '<');
}

/// Groups digits, zeros that fill up to the width included.
void group_digits(NumberText& number, Spec& spec, size_t every) {
  if (spec.grouping == '\0') return;
  const bool fills = spec.align == '=' && spec.fill == "0";
  if (spec.type == 'n' || spec.type == 'c') {
    fail("ValueError", fmt::format("Cannot specify '{}' with '{}'.", spec.grouping, spec.type));
  }
  const Int around = static_cast<Int>(number.sign.size()) + static_cast<Int>(number.prefix.size());
  std::string shown = grouped(number.digits, spec.grouping, every);
  while (fills && around + static_cast<Int>(shown.size()) < spec.width) {
    check_string_size(shown.size() + 1);
    number.digits.insert(number.digits.begin(), '0');
    shown = grouped(number.digits, spec.grouping, every);
  }
  number.digits = std::move(shown);
}

std::string format_integer(Int value, Spec spec) {
  const char type = spec.type == '\0' || spec.type == 'n' ? 'd' : spec.type;
  if (spec.precision >= 0) fail("ValueError", "Precision not allowed in integer format specifier");
  if (type == 'c') {
    if (spec.grouping != '\0') fail("ValueError", "Cannot specify ',' with 'c'.");
    if (spec.sign != '-') fail("ValueError", "Sign not allowed with integer format specifier 'c'");
    if (spec.alternate) {
      fail("ValueError", "Alternate form (#) not allowed with integer format specifier 'c'");
    }
    if (value < 0 || value > 0x10ffff) fail("OverflowError", "%c arg not in range(0x110000)");
    std::string text;
    append_utf8(text, static_cast<char32_t>(value));
    return padded({"", "", std::move(text)}, spec, '<');
  }
  NumberText number =
      format_int(value, {.type = type, .alternate = spec.alternate, .sign = spec.sign});
  if (spec.grouping == ',' && type != 'd') {
    fail("ValueError", fmt::format("Cannot specify ',' with '{}'.", type));
  }
  group_digits(number, spec, type == 'd' ? 3 : 4);
  return padded(number, spec, '>');
}

std::string format_real(double value, Spec spec) {
  static constexpr std::string_view kTypes = "eEfFgGn%";
  if (spec.type != '\0' && kTypes.find(spec.type) == std::string_view::npos) {
    fail("ValueError",
         fmt::format("Unknown format code '{}' for object of type 'float'", spec.type));
  }
  NumberStyle style{.type = spec.type,
                    .precision = spec.precision,
                    .alternate = spec.alternate,
                    .sign = spec.sign};
  // Without type: as str(), or like g but with a digit after the point.
  if (style.type == '\0') style.type = spec.precision >= 0 ? 's' : 'r';
  if (style.type == 'n') style.type = 'g';
  NumberText number = format_float(value, style);
  group_digits(number, spec, 3);
  return padded(number, spec, '>');
}

}  // namespace

NumberText format_int(Int value, const NumberStyle& style) {
  NumberText out;
  out.sign = value < 0 ? "-" : style.sign == '-' ? "" : std::string(1, style.sign);
  unsigned base = 10;
  switch (style.type) {
    case 'b':
      base = 2;
      break;
    case 'o':
      base = 8;
      break;
    case 'x':
    case 'X':
      base = 16;
      break;
    default:
      break;
  }
  if (style.alternate && base != 10) out.prefix = std::string("0") + style.type;
  out.digits = digits_of(value, base, style.type == 'X');
  if (style.precision > static_cast<int>(out.digits.size())) {
    if (style.precision > kMaxPrecision) fail("LimitError", "a precision of more than 10000");
    out.digits.insert(0, static_cast<size_t>(style.precision) - out.digits.size(), '0');
  }
  return out;
}

NumberText format_float(double value, const NumberStyle& style) {
  NumberText out;
  out.sign = std::signbit(value) && !std::isnan(value) ? "-"
             : style.sign == '-'                       ? ""
                                                       : std::string(1, style.sign);
  const double size = std::fabs(value);
  const bool upper = style.type == 'E' || style.type == 'F' || style.type == 'G';
  const bool percent = style.type == '%';
  if (!std::isfinite(value)) {
    out.digits = std::isnan(value) ? (upper ? "NAN" : "nan") : (upper ? "INF" : "inf");
    if (percent) out.digits += '%';
    return out;
  }
  if (style.precision > kMaxPrecision) fail("LimitError", "a precision of more than 10000");
  const int precision = style.precision < 0 ? 6 : style.precision;
  switch (style.type) {
    case 'r':
      out.digits = repr_float(size);
      break;
    case '%':
      out.digits = print_double(size * 100, precision, 'f', style.alternate) + "%";
      break;
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G':
      out.digits = print_double(size, precision, style.type, style.alternate);
      break;
    case 's':
      out.digits = general_with_point(size, std::max(precision, 1));
      break;
    default:
      fail("ValueError",
           fmt::format("Unknown format code '{}' for object of type 'float'", style.type));
  }
  return out;
}

std::string format_value(const Value& value, std::string_view text) {
  if (value.is_markup() && !text.empty()) {
    fail("ValueError", "Unsupported format specification for Markup.");
  }
  if (value.is(Kind::kBool) && text.empty()) return to_str(value);
  if (!value.is_number() && !value.is(Kind::kStr)) {
    if (text.empty()) return to_str(value);
    fail("TypeError",
         fmt::format("unsupported format string passed to {}.__format__", type_name(value)));
  }
  Spec spec = parse_spec(text);
  if (spec.zero_fills && value.is_number()) spec.align = '=';
  if (value.is(Kind::kStr)) return format_text(value.text(), spec);
  if (value.is(Kind::kFloat)) return format_real(value.as_double(), spec);
  static constexpr std::string_view kIntegerTypes = "bcdoxXn";
  if (spec.type == '\0' || kIntegerTypes.find(spec.type) != std::string_view::npos) {
    return format_integer(value.as_int(), spec);
  }
  static constexpr std::string_view kFloatTypes = "eEfFgG%";
  if (kFloatTypes.find(spec.type) == std::string_view::npos) {
    fail("ValueError", fmt::format("Unknown format code '{}' for object of type '{}'", spec.type,
                                   type_name(value)));
  }
  return format_real(value.as_double(), spec);
}

}  // namespace lockstep::jinja
