// Filters of one value of any type: numbers, conversions, defaults, JSON.
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <cstdlib>

#include "text/jinja_filters.h"
#include "text/jinja_json.h"
#include "text/jinja_ops.h"
#include "text/jinja_unicode.h"

namespace lockstep::jinja {
namespace {

/// int(text, base); false where Python says ValueError.
bool parse_int(std::string_view text, Int base, Int& out) {
  if (base != 0 && (base < 2 || base > 36)) return false;
  const std::u32string digits = decode(strip_space(text, Side::kBoth));
  size_t pos = 0;
  const bool is_negative = !digits.empty() && digits[0] == '-';
  if (is_negative || (!digits.empty() && digits[0] == '+')) ++pos;
  bool may_underscore = false;
  if (pos + 1 < digits.size() && digits[pos] == '0') {
    const char32_t c = digits[pos + 1] | 0x20u;
    const Int prefixed = c == 'x' ? 16 : c == 'o' ? 8 : c == 'b' ? 2 : 0;
    if (prefixed != 0 && (base == prefixed || base == 0)) {
      base = prefixed;
      pos += 2;
      may_underscore = true;
    }
  }
  const bool only_zeros = base == 0 && pos < digits.size() && digits[pos] == '0';
  if (base == 0) base = 10;
  out = 0;
  size_t n = 0;
  for (; pos < digits.size(); ++pos) {
    if (digits[pos] == '_') {
      if (!may_underscore || pos + 1 == digits.size()) return false;
      may_underscore = false;
      continue;
    }
    Int digit = decimal_value(digits[pos]);
    const char32_t lower = digits[pos] | 0x20u;
    if (digit < 0 && lower >= 'a' && lower <= 'z') digit = static_cast<Int>(lower - 'a') + 10;
    if (digit < 0 || digit >= base) return false;
    out = checked_add(checked_multiply(out, base), digit);
    may_underscore = true;
    ++n;
  }
  if (is_negative) out = -out;
  return n > 0 && !(only_zeros && out != 0);
}

/// float(text); false where Python says ValueError.
bool parse_float(std::string_view text, double& out) {
  std::string plain;
  const std::string_view trimmed = strip_space(text, Side::kBoth);
  for (size_t pos = 0; pos < trimmed.size();) {
    const char32_t c = next_code_point(trimmed, pos);
    const int digit = decimal_value(c);
    if (digit >= 0) {
      plain += static_cast<char>('0' + digit);
    } else if (c < 0x80) {
      plain += static_cast<char>(c);
    } else {
      return false;
    }
  }
  std::string digits;
  for (size_t i = 0; i < plain.size(); ++i) {
    const auto is_digit = [&](size_t k) {
      return k < plain.size() && plain[k] >= '0' && plain[k] <= '9';
    };
    if (plain[i] != '_') {
      digits += plain[i];
    } else if (i == 0 || !is_digit(i - 1) || !is_digit(i + 1)) {
      return false;
    }
  }
  std::string lower = digits;
  for (char& c : lower) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
  if (!lower.empty() && (lower[0] == '+' || lower[0] == '-')) lower.erase(0, 1);
  const bool is_word = lower == "inf" || lower == "infinity" || lower == "nan";
  // strtod also reads hexadecimal and words of its own.
  if (!is_word && lower.find_first_not_of("0123456789.e+-") != std::string::npos) return false;
  if (digits.empty()) return false;
  char* end = nullptr;
  out = std::strtod(digits.c_str(), &end);
  return *end == '\0' && end != digits.c_str();
}

/// The whole part of a float. Throws ValueError and OverflowError as int() does.
Int truncate(double value) {
  if (std::isnan(value)) fail("ValueError", "cannot convert float NaN to integer");
  if (std::isinf(value)) fail("OverflowError", "cannot convert float infinity to integer");
  if (std::fabs(value) >= 0x1p126) fail("LimitError", "an integer of more than 127 bits");
  return static_cast<Int>(value);
}

Value to_int(Interpreter&, const Value& value, const Arguments& arguments) {
  const Parameters p("int", arguments, {"default", "base"}, 0);
  Value otherwise = p.has(0) ? p[0] : Value::integer(0);
  if (value.is(Kind::kUndefined)) fail_undefined(value);
  if (value.is_integral()) return Value::integer(value.as_int());
  if (value.is(Kind::kFloat)) {
    return std::isnan(value.as_double()) ? otherwise : Value::integer(truncate(value.as_double()));
  }
  if (!value.is(Kind::kStr)) return otherwise;
  Int whole = 0;
  double number = 0;
  if (parse_int(value.text(), p.int_of(1, 10), whole)) return Value::integer(whole);
  if (!parse_float(value.text(), number) || !std::isfinite(number)) return otherwise;
  return Value::integer(truncate(number));
}

Value to_float(Interpreter&, const Value& value, const Arguments& arguments) {
  const Parameters p("float", arguments, {"default"}, 0);
  if (value.is(Kind::kUndefined)) fail_undefined(value);
  if (value.is_number()) return Value::real(value.as_double());
  double number = 0;
  if (value.is(Kind::kStr) && parse_float(value.text(), number)) return Value::real(number);
  return p.has(0) ? p[0] : Value::real(0);
}

Value absolute(Interpreter&, const Value& value, const Arguments& arguments) {
  const Parameters p("abs", arguments, {}, 0);
  if (value.is(Kind::kFloat)) return Value::real(std::fabs(value.as_double()));
  if (!value.is_integral()) {
    fail("TypeError", fmt::format("bad operand type for abs(): '{}'", type_name(value)));
  }
  const Int number = value.as_int();
  return Value::integer(number < 0 ? checked_multiply(number, -1) : number);
}

double round_float(double value, Int places) {
  if (!std::isfinite(value) || places > 323) return value;
  if (places < -308) return std::copysign(0.0, value);
  if (places >= 0) {
    // printf rounds the exact value, halves to even, as Python does.
    return std::strtod(fmt::format("{:.{}f}", value, static_cast<int>(places)).c_str(), nullptr);
  }
  const double unit = std::pow(10.0, static_cast<double>(-places));
  return std::nearbyint(value / unit) * unit;
}

Int round_int(Int value, Int places) {
  if (places >= 0) return value;
  if (places < -37) return 0;
  Int unit = 1;
  for (Int i = places; i < 0; ++i) unit *= 10;
  Int rest = value % unit;
  if (rest < 0) rest += unit;
  const Int floor = value - rest, half = unit / 2;
  const bool up = rest > half || (rest == half && (floor / unit) % 2 != 0);
  return up ? checked_add(floor, unit) : floor;
}

Value round(Interpreter&, const Value& value, const Arguments& arguments) {
  const Parameters p("round", arguments, {"precision", "method"}, 0);
  const std::string method = p.has(1) ? to_str(p[1]) : "common";
  if (method != "common" && method != "ceil" && method != "floor") {
    fail("FilterArgumentError", "method must be common, ceil or floor");
  }
  if (!value.is_number()) {
    if (value.is(Kind::kUndefined) && method != "common") fail_undefined(value);
    fail("TypeError", fmt::format("type {} doesn't define __round__ method", type_name(value)));
  }
  if (method == "common") {
    if (p.has(0) && p[0].is(Kind::kNone)) {
      return value.is_integral() ? Value::integer(value.as_int())
                                 : Value::integer(truncate(std::nearbyint(value.as_double())));
    }
    const Int places = p.int_of(0, 0);
    return value.is_integral() ? Value::integer(round_int(value.as_int(), places))
                               : Value::real(round_float(value.as_double(), places));
  }
  const Value scale =
      binary(Operator::kPower, Value::integer(10), p.has(0) ? p[0] : Value::integer(0));
  const Value scaled = binary(Operator::kMultiply, value, scale);
  const double number = scaled.as_double();
  const Value whole =
      scaled.is_integral()
          ? scaled
          : Value::integer(truncate(method == "ceil" ? std::ceil(number) : std::floor(number)));
  return binary(Operator::kDivide, whole, scale);
}

Value filesize(Interpreter&, const Value& value, const Arguments& arguments) {
  const Parameters p("filesizeformat", arguments, {"binary"}, 0);
  double bytes = 0;
  if (value.is(Kind::kUndefined)) fail_undefined(value);
  if (value.is_number()) {
    bytes = value.as_double();
  } else if (!value.is(Kind::kStr) || !parse_float(value.text(), bytes)) {
    fail(value.is(Kind::kStr) ? "ValueError" : "TypeError", "a size is wanted");
  }
  const bool binary_units = p.truth_of(0, false);
  const double base = binary_units ? 1024 : 1000;
  if (bytes == 1) return Value::string("1 Byte");
  if (bytes < base) return Value::string(int_to_string(truncate(bytes)) + " Bytes");
  double unit = base;
  for (const char prefix : std::string_view("kMGTPEZY")) {
    unit *= base;
    if (bytes >= unit && prefix != 'Y') continue;
    const char shown = binary_units && prefix == 'k' ? 'K' : prefix;
    return Value::string(
        fmt::format("{:.1f} {}{}", base * bytes / unit, shown, binary_units ? "iB" : "B"));
  }
  return Value::none();
}

Value otherwise(Interpreter&, const Value& value, const Arguments& arguments) {
  const Parameters p("default", arguments, {"default_value", "boolean"}, 0);
  const bool is_wanting = value.is(Kind::kUndefined) || (p.truth_of(1, false) && !truth(value));
  if (!is_wanting) return value;
  return p.has(0) ? p[0] : Value::string("");
}

Value attribute(Interpreter&, const Value& value, const Arguments& arguments) {
  const Parameters p("attr", arguments, {"name"}, 1);
  if (value.is(Kind::kUndefined)) fail_undefined(value);
  Value out;
  return find_attribute(value, p.text_of(0), out) ? out : undefined_attribute(value, p[0]);
}

Value string(Interpreter&, const Value& value, const Arguments& arguments) {
  const Parameters p("string", arguments, {}, 0);
  return value.is(Kind::kStr) ? value : Value::string(to_str(value));
}

/// As transformers defines it: plain JSON, nothing of HTML escaped.
Value tojson(Interpreter&, const Value& value, const Arguments& arguments) {
  const Parameters p("tojson", arguments, {"ensure_ascii", "indent", "separators", "sort_keys"}, 0);
  JsonStyle style;
  style.ascii = p.truth_of(0, false);
  style.sort_keys = p.truth_of(3, false);
  if (!p.is_none(1)) {
    constexpr Int kMaxIndent = 1000;
    style.pretty = true;
    style.item_separator.resize(1);
    if (p[1].is(Kind::kStr)) {
      style.indent = p[1].text();
    } else {
      const Int n = p.int_of(1, 0);
      if (n > kMaxIndent) fail("LimitError", "an indent of more than 1000");
      style.indent.assign(static_cast<size_t>(std::max<Int>(n, 0)), ' ');
    }
  }
  if (!p.is_none(2)) {
    const std::vector<Value> separators = collect(p[2]);
    if (separators.size() != 2 || !separators[0].is(Kind::kStr) || !separators[1].is(Kind::kStr)) {
      fail("ValueError", "separators of tojson are a pair of strings");
    }
    style.item_separator = separators[0].text();
    style.key_separator = separators[1].text();
  }
  return Value::string(to_json(value, style));
}

constexpr auto kFilters = std::to_array<Filter>({
    {"abs", absolute},
    {"attr", attribute},
    {"d", otherwise},
    {"default", otherwise},
    {"filesizeformat", filesize},
    {"float", to_float},
    {"int", to_int},
    {"round", round},
    {"string", string},
    {"tojson", tojson},
});

}  // namespace

std::span<const Filter> number_filters() noexcept { return kFilters; }

}  // namespace lockstep::jinja
