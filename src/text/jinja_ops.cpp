#include "text/jinja_ops.h"

#include <fmt/format.h>

#include <cmath>

#include "text/jinja_call.h"
#include "text/jinja_format.h"
#include "text/jinja_unicode.h"

namespace lockstep::jinja {
namespace {

const char* symbol(Operator op) {
  switch (op) {
    case Operator::kAdd:
      return "+";
    case Operator::kSubtract:
      return "-";
    case Operator::kMultiply:
      return "*";
    case Operator::kDivide:
      return "/";
    case Operator::kFloorDivide:
      return "//";
    case Operator::kModulo:
      return "%";
    case Operator::kPower:
      break;
  }
  return "** or pow()";
}

Int floor_divide(Int a, Int b) {
  const Int quotient = a / b;
  return quotient * b != a && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

Value int_power(Int base, Int exponent) {
  if (exponent < 0) {
    if (base == 0) fail("ZeroDivisionError", "zero to a negative power");
    return Value::real(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  Int result = 1;
  while (exponent > 0) {
    if ((exponent & 1) != 0) result = checked_multiply(result, base);
    exponent >>= 1;
    if (exponent > 0) base = checked_multiply(base, base);
  }
  return Value::integer(result);
}

Value int_operation(Operator op, Int a, Int b) {
  switch (op) {
    case Operator::kAdd:
      return Value::integer(checked_add(a, b));
    case Operator::kSubtract: {
      Int out;
      if (__builtin_sub_overflow(a, b, &out)) {
        fail("LimitError", "an integer of more than 127 bits");
      }
      return Value::integer(out);
    }
    case Operator::kMultiply:
      return Value::integer(checked_multiply(a, b));
    case Operator::kPower:
      return int_power(a, b);
    default:
      break;
  }
  if (b == 0) fail("ZeroDivisionError", "division by zero");
  if (op == Operator::kDivide) {
    return Value::real(
        static_cast<double>(static_cast<long double>(a) / static_cast<long double>(b)));
  }
  // The one quotient that overflows.
  if (b == -1) return Value::integer(op == Operator::kModulo ? 0 : checked_multiply(a, b));
  const Int quotient = floor_divide(a, b);
  return Value::integer(op == Operator::kModulo ? a - quotient * b : quotient);
}

/// The floor quotient and the remainder of its sign, as CPython computes them.
std::pair<double, double> float_divmod(double a, double b) {
  double remainder = std::fmod(a, b);
  double quotient = (a - remainder) / b;
  if (remainder != 0) {
    if ((b < 0) != (remainder < 0)) {
      remainder += b;
      quotient -= 1;
    }
  } else {
    remainder = std::copysign(0.0, b);
  }
  if (quotient == 0) return {std::copysign(0.0, a / b), remainder};
  double whole = std::floor(quotient);
  if (quotient - whole > 0.5) whole += 1;
  return {whole, remainder};
}

Value float_operation(Operator op, double a, double b) {
  switch (op) {
    case Operator::kAdd:
      return Value::real(a + b);
    case Operator::kSubtract:
      return Value::real(a - b);
    case Operator::kMultiply:
      return Value::real(a * b);
    case Operator::kPower: {
      if (a == 0 && b < 0) fail("ZeroDivisionError", "zero to a negative power");
      if (a < 0 && std::isfinite(a) && std::isfinite(b) && b != std::floor(b)) {
        fail("LimitError", "complex numbers are not supported");
      }
      const double result = std::pow(a, b);
      if (std::isinf(result) && std::isfinite(a) && std::isfinite(b)) {
        fail("OverflowError", "(34, 'Numerical result out of range')");
      }
      return Value::real(result);
    }
    default:
      break;
  }
  if (b == 0) fail("ZeroDivisionError", "division by zero");
  if (op == Operator::kDivide) return Value::real(a / b);
  const auto [quotient, remainder] = float_divmod(a, b);
  return Value::real(op == Operator::kModulo ? remainder : quotient);
}

[[noreturn]] void fail_operands(Operator op, const Value& a, const Value& b) {
  fail("TypeError", fmt::format("unsupported operand type(s) for {}: '{}' and '{}'", symbol(op),
                                type_name(a), type_name(b)));
}

Value concatenate(const Value& a, const Value& b) {
  if (a.is(Kind::kStr)) {
    if (a.is_markup() || b.is_markup()) {
      std::string out = a.is_markup() ? a.text() : escape_html(a.text());
      grow(out, b.is_markup() ? b.text() : escape_html(b.text()));
      return Value::markup(std::move(out));
    }
    check_string_size(a.text().size() + b.text().size());
    return Value::string(a.text() + b.text());
  }
  check_list_size(a.items().size() + b.items().size());
  std::vector<Value> items = a.items();
  items.insert(items.end(), b.items().begin(), b.items().end());
  return a.is(Kind::kList) ? Value::list(std::move(items)) : Value::tuple(std::move(items));
}

Value repeat(const Value& value, Int count) {
  const auto n = count <= 0 ? 0 : static_cast<uint64_t>(std::min<Int>(count, UINT32_MAX));
  if (value.is(Kind::kStr)) {
    check_string_size(value.text().size() * n);
    std::string out;
    out.reserve(value.text().size() * n);
    if (!value.text().empty()) {
      for (uint64_t i = 0; i < n; ++i) out += value.text();
    }
    return value.is_markup() ? Value::markup(std::move(out)) : Value::string(std::move(out));
  }
  check_list_size(value.items().size() * n);
  std::vector<Value> items;
  items.reserve(value.items().size() * n);
  if (!value.items().empty()) {
    for (uint64_t i = 0; i < n; ++i) {
      items.insert(items.end(), value.items().begin(), value.items().end());
    }
  }
  return value.is(Kind::kList) ? Value::list(std::move(items)) : Value::tuple(std::move(items));
}

bool can_repeat(const Value& value) { return value.is(Kind::kStr) || value.is_sequence(); }

bool contains_in_view(const View& view, const Value& item) {
  const Dict& dict = view.dict.dict();
  if (view.what == View::What::kKeys) return dict.find(item) != nullptr;
  for (const auto& [key, value] : dict.items()) {
    if (view.what == View::What::kValues) {
      if (same(value, item) || equals(value, item)) return true;
    } else if (item.is(Kind::kTuple) && item.items().size() == 2 && equals(item.items()[0], key) &&
               equals(item.items()[1], value)) {
      return true;
    }
  }
  return false;
}

bool contains_in_range(const Range& range, const Value& item) {
  if (!item.is_integral()) {
    for (Int i = 0; i < range.size(); ++i) {
      if (equals(Value::integer(range.at(i)), item)) return true;
    }
    return false;
  }
  const Int n = range.size(), value = item.as_int();
  if (n == 0) return false;
  const Int low = std::min(range.start, range.at(n - 1));
  const Int high = std::max(range.start, range.at(n - 1));
  return value >= low && value <= high && (value - range.start) % range.step == 0;
}

}  // namespace

Value binary(Operator op, const Value& a, const Value& b) {
  if (a.is(Kind::kStr) && op == Operator::kModulo) return format_percent(a, b);
  if (a.is(Kind::kUndefined)) fail_undefined(a);
  if (b.is(Kind::kUndefined)) fail_undefined(b);
  if (a.is_integral() && b.is_integral()) return int_operation(op, a.as_int(), b.as_int());
  if (a.is_number() && b.is_number()) return float_operation(op, a.as_double(), b.as_double());
  if (op == Operator::kAdd) {
    if ((a.is(Kind::kStr) || a.is_sequence()) && a.kind() == b.kind()) return concatenate(a, b);
    if (a.is(Kind::kStr) || a.is_sequence()) {
      fail("TypeError", fmt::format("can only concatenate {0} (not \"{1}\") to {0}", type_name(a),
                                    type_name(b)));
    }
  }
  if (op == Operator::kMultiply) {
    if (can_repeat(a) && b.is_integral()) return repeat(a, b.as_int());
    if (can_repeat(b) && a.is_integral()) return repeat(b, a.as_int());
    if (can_repeat(a) || can_repeat(b)) {
      fail("TypeError", fmt::format("can't multiply sequence by non-int of type '{}'",
                                    type_name(can_repeat(a) ? b : a)));
    }
  }
  fail_operands(op, a, b);
}

Value negative(const Value& value) {
  if (value.is(Kind::kUndefined)) fail_undefined(value);
  if (value.is_integral()) return Value::integer(checked_multiply(value.as_int(), -1));
  if (value.is(Kind::kFloat)) return Value::real(-value.as_double());
  fail("TypeError", fmt::format("bad operand type for unary -: '{}'", type_name(value)));
}

Value positive(const Value& value) {
  if (value.is(Kind::kUndefined)) fail_undefined(value);
  if (value.is_integral()) return Value::integer(value.as_int());
  if (value.is(Kind::kFloat)) return value;
  fail("TypeError", fmt::format("bad operand type for unary +: '{}'", type_name(value)));
}

bool contains(const Value& container, const Value& item) {
  switch (container.kind()) {
    case Kind::kStr:
      if (!item.is(Kind::kStr)) {
        fail("TypeError",
             fmt::format("'in <string>' requires string as left operand, not {}", type_name(item)));
      }
      check_string_size(container.text().size());
      return find_text(container.text(), item.text()) != std::string::npos;
    case Kind::kDict:
      return container.dict().find(item) != nullptr;
    case Kind::kRange:
      return contains_in_range(container.as<Range>(), item);
    case Kind::kView:
      return contains_in_view(container.as<View>(), item);
    default:
      break;
  }
  if (!is_iterable(container)) {
    fail("TypeError",
         fmt::format("argument of type '{}' is not a container or iterable", type_name(container)));
  }
  Cursor cursor(container);
  for (Value value; cursor.next(value);) {
    if (same(value, item) || equals(value, item)) return true;
  }
  return false;
}

std::string escape_html(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out += c;
    }
  }
  check_string_size(out.size());
  return out;
}

Value escape(const Value& value) {
  return value.is_markup() ? value : Value::markup(escape_html(to_str(value)));
}

}  // namespace lockstep::jinja
