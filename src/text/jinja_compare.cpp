// Equality, order, hashes of values, as Python has them.
#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <functional>

#include "text/jinja_value.h"

namespace lockstep::jinja {
namespace {

/// An integer and a float by their exact values: -1, 0, 1, or 2 where one is NaN.
int compare_numbers(const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral()) {
    return a.as_int() < b.as_int() ? -1 : a.as_int() > b.as_int() ? 1 : 0;
  }
  if (a.is(Kind::kFloat) && b.is(Kind::kFloat)) {
    const double x = a.as_double(), y = b.as_double();
    return x < y ? -1 : x > y ? 1 : x == y ? 0 : 2;
  }
  if (a.is(Kind::kFloat)) {
    const int order = compare_numbers(b, a);
    return order == 2 ? 2 : -order;
  }
  const double y = b.as_double();
  if (std::isnan(y)) return 2;
  if (y >= 0x1p127) return -1;
  if (y < -0x1p127) return 1;
  const double whole = std::trunc(y);
  const Int truncated = static_cast<Int>(whole);
  if (a.as_int() != truncated) return a.as_int() < truncated ? -1 : 1;
  return y > whole ? -1 : y < whole ? 1 : 0;
}

bool equal_items(const std::vector<Value>& a, const std::vector<Value>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    // Python takes the same object for equal before it asks, which NaN shows.
    if (!same(a[i], b[i]) && !equals(a[i], b[i])) return false;
  }
  return true;
}

bool equal_dicts(const Dict& a, const Dict& b) {
  if (a.items().size() != b.items().size()) return false;
  for (const auto& [key, value] : a.items()) {
    const Value* other = b.find(key);
    if (other == nullptr || (!same(value, *other) && !equals(value, *other))) return false;
  }
  return true;
}

bool equal_ranges(const Range& a, const Range& b) {
  const Int n = a.size();
  if (n != b.size()) return false;
  return n == 0 || (a.start == b.start && (n == 1 || a.step == b.step));
}

bool equal_views(const View& a, const View& b) {
  if (a.what == View::What::kValues || b.what == View::What::kValues) return &a == &b;
  const size_t n = a.dict.dict().items().size();
  if (n != b.dict.dict().items().size()) return false;
  for (size_t i = 0; i < n; ++i) {
    bool found = false;
    for (size_t k = 0; k < n && !found; ++k) found = equals(a.at(i), b.at(k));
    if (!found) return false;
  }
  return true;
}

const char* symbol(Order order) {
  switch (order) {
    case Order::kLess:
      return "<";
    case Order::kLessEqual:
      return "<=";
    case Order::kGreater:
      return ">";
    case Order::kGreaterEqual:
      break;
  }
  return ">=";
}

bool decide(int sign, Order order) {
  switch (order) {
    case Order::kLess:
      return sign == -1;
    case Order::kLessEqual:
      return sign == -1 || sign == 0;
    case Order::kGreater:
      return sign == 1;
    case Order::kGreaterEqual:
      break;
  }
  return sign == 1 || sign == 0;
}

uint64_t mix(uint64_t seed, uint64_t value) {
  return (seed ^ value) * 0x9e3779b97f4a7c15u + (seed >> 29);
}

}  // namespace

bool same(const Value& a, const Value& b) {
  if (a.kind() != b.kind()) return false;
  if (a.object() != nullptr || b.object() != nullptr) return a.object() == b.object();
  if (a.is(Kind::kFloat)) return a.as_double() == b.as_double();
  return a.as_int() == b.as_int();
}

bool equals(const Value& a, const Value& b) {
  const Nested nested;
  if (a.is_number() && b.is_number()) return compare_numbers(a, b) == 0;
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return true;
    case Kind::kStr:
      if (a.text().size() != b.text().size()) return false;
      check_string_size(a.text().size());
      return a.text() == b.text();
    case Kind::kList:
    case Kind::kTuple:
      return equal_items(a.items(), b.items());
    case Kind::kDict:
      return equal_dicts(a.dict(), b.dict());
    case Kind::kRange:
      return equal_ranges(a.as<Range>(), b.as<Range>());
    case Kind::kView:
      return equal_views(a.as<View>(), b.as<View>());
    default:
      return a.object() == b.object();
  }
}

bool compare(const Value& a, const Value& b, Order order) {
  const Nested nested;
  if (a.is(Kind::kUndefined)) fail_undefined(a);
  if (b.is(Kind::kUndefined)) fail_undefined(b);
  if (a.is_number() && b.is_number()) return decide(compare_numbers(a, b), order);
  if (a.is(Kind::kStr) && b.is(Kind::kStr)) {
    check_string_size(std::min(a.text().size(), b.text().size()));
    const int sign = a.text().compare(b.text());
    return decide(sign < 0 ? -1 : sign > 0 ? 1 : 0, order);
  }
  if (a.is_sequence() && a.kind() == b.kind()) {
    const auto &x = a.items(), &y = b.items();
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      if (!same(x[i], y[i]) && !equals(x[i], y[i])) return compare(x[i], y[i], order);
    }
    return decide(x.size() < y.size() ? -1 : x.size() > y.size() ? 1 : 0, order);
  }
  fail("TypeError", fmt::format("'{}' not supported between instances of '{}' and '{}'",
                                symbol(order), type_name(a), type_name(b)));
}

uint64_t hash_value(const Value& value) {
  switch (value.kind()) {
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kFloat: {
      // Equal numbers of different types have one hash.
      const double number = value.as_double();
      return std::hash<double>()(number);
    }
    case Kind::kStr:
      check_string_size(value.text().size());
      return std::hash<std::string>()(value.text());
    case Kind::kTuple: {
      uint64_t hash = 7;
      for (const Value& item : value.items()) hash = mix(hash, hash_value(item));
      return hash;
    }
    case Kind::kRange:
      return static_cast<uint64_t>(value.as<Range>().size());
    case Kind::kList:
    case Kind::kDict:
    case Kind::kView:
      if (value.is(Kind::kView) && value.as<View>().what == View::What::kValues) {
        return std::hash<const void*>()(value.object());
      }
      fail("TypeError", fmt::format("unhashable type: '{}'", type_name(value)));
    case Kind::kUndefined:
    case Kind::kNone:
      return static_cast<uint64_t>(value.kind());
    default:
      return std::hash<const void*>()(value.object());
  }
}

}  // namespace lockstep::jinja
