// What follows `is`.
#include <fmt/format.h>

#include <unordered_map>

#include "text/jinja_eval.h"
#include "text/jinja_ops.h"
#include "text/jinja_parser.h"

namespace lockstep::jinja {
namespace {

using Test = bool (*)(Interpreter&, const Value& value, const Arguments& arguments);

template <Order order>
bool ordered(Interpreter&, const Value& value, const Arguments& arguments) {
  const Parameters p("comparison", arguments, {""}, 1);
  return compare(value, p[0], order);
}

bool equal(Interpreter&, const Value& value, const Arguments& arguments) {
  const Parameters p("eq", arguments, {""}, 1);
  return equals(value, p[0]);
}

template <auto holds>
bool plain(Interpreter&, const Value& value, const Arguments& arguments) {
  const Parameters p("test", arguments, {}, 0);
  return holds(value);
}

template <Kind kind>
bool is_kind(const Value& value) {
  return value.is(kind);
}

Value remainder(const Value& value, const Value& divisor) {
  return binary(Operator::kModulo, value, divisor);
}

/// str(value).islower() or isupper().
bool has_case(Interpreter& interpreter, const Value& value, const char* method) {
  return truth(find_str_method(method)->function(interpreter, Value::string(to_str(value)), {}));
}

bool is_sequence(const Value& value) {
  Int n = 0;
  if (value.is(Kind::kUndefined)) return true;
  const bool has_items = value.is(Kind::kStr) || value.is_sequence() || value.is(Kind::kDict) ||
                         value.is(Kind::kRange);
  return has_items && length(value, n);
}

bool is_string_list(const Value& value, bool (*has)(std::string_view) noexcept) {
  if (value.is(Kind::kStr)) return has(value.text());
  hash_value(value);  // a list is no key
  return false;
}

bool is_odd(const Value& v) { return equals(remainder(v, Value::integer(2)), Value::integer(1)); }
bool is_even(const Value& v) { return equals(remainder(v, Value::integer(2)), Value::integer(0)); }
bool is_defined(const Value& v) { return !v.is(Kind::kUndefined); }
bool names_filter(const Value& v) { return is_string_list(v, has_filter); }
bool names_test(const Value& v) { return is_string_list(v, has_test); }
bool is_false(const Value& v) { return v.is(Kind::kBool) && v.as_int() == 0; }
bool is_true(const Value& v) { return v.is(Kind::kBool) && v.as_int() != 0; }
bool is_number(const Value& v) { return v.is_number(); }
bool is_escaped(const Value& v) { return v.is_markup(); }

const std::unordered_map<std::string_view, Test>& tests() {
  static const std::unordered_map<std::string_view, Test> kTests = {
      {"odd", plain<is_odd>},
      {"even", plain<is_even>},
      {"divisibleby",
       [](Interpreter&, const Value& value, const Arguments& arguments) {
         const Parameters p("divisibleby", arguments, {"num"}, 1);
         return equals(remainder(value, p[0]), Value::integer(0));
       }},
      {"defined", plain<is_defined>},
      {"undefined", plain<is_kind<Kind::kUndefined>>},
      {"filter", plain<names_filter>},
      {"test", plain<names_test>},
      {"none", plain<is_kind<Kind::kNone>>},
      {"boolean", plain<is_kind<Kind::kBool>>},
      {"false", plain<is_false>},
      {"true", plain<is_true>},
      {"integer", plain<is_kind<Kind::kInt>>},
      {"float", plain<is_kind<Kind::kFloat>>},
      {"lower",
       [](Interpreter& interpreter, const Value& value, const Arguments& arguments) {
         const Parameters p("lower", arguments, {}, 0);
         return has_case(interpreter, value, "islower");
       }},
      {"upper",
       [](Interpreter& interpreter, const Value& value, const Arguments& arguments) {
         const Parameters p("upper", arguments, {}, 0);
         return has_case(interpreter, value, "isupper");
       }},
      {"string", plain<is_kind<Kind::kStr>>},
      {"mapping", plain<is_kind<Kind::kDict>>},
      {"number", plain<is_number>},
      {"sequence", plain<is_sequence>},
      {"iterable", plain<is_iterable>},
      {"callable", plain<is_callable>},
      {"sameas",
       [](Interpreter&, const Value& value, const Arguments& arguments) {
         const Parameters p("sameas", arguments, {"other"}, 1);
         return same(value, p[0]);
       }},
      {"escaped", plain<is_escaped>},
      {"in",
       [](Interpreter&, const Value& value, const Arguments& arguments) {
         const Parameters p("in", arguments, {"seq"}, 1);
         return contains(p[0], value);
       }},
      {"==", equal},
      {"eq", equal},
      {"equalto", equal},
      {"!=", [](Interpreter& i, const Value& v, const Arguments& a) { return !equal(i, v, a); }},
      {"ne", [](Interpreter& i, const Value& v, const Arguments& a) { return !equal(i, v, a); }},
      {">", ordered<Order::kGreater>},
      {"gt", ordered<Order::kGreater>},
      {"greaterthan", ordered<Order::kGreater>},
      {"ge", ordered<Order::kGreaterEqual>},
      {">=", ordered<Order::kGreaterEqual>},
      {"<", ordered<Order::kLess>},
      {"lt", ordered<Order::kLess>},
      {"lessthan", ordered<Order::kLess>},
      {"<=", ordered<Order::kLessEqual>},
      {"le", ordered<Order::kLessEqual>},
  };
  return kTests;
}

}  // namespace

bool has_test(std::string_view name) noexcept { return tests().contains(name); }

bool Interpreter::call_test(std::string_view name, const Value& value, const Arguments& arguments) {
  const auto found = tests().find(name);
  if (found == tests().end()) {
    fail("TemplateRuntimeError", fmt::format("No test named {} found.", repr_string(name)));
  }
  return found->second(*this, value, arguments);
}

}  // namespace lockstep::jinja
