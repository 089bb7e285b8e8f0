// The attributes of values, and the methods of every built-in type but str.
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <span>

#include "text/jinja_call.h"
#include "text/jinja_ops.h"

namespace lockstep::jinja {
namespace {

Value view_of(const char* name, const Value& self, const Arguments& arguments, View::What what) {
  const Parameters p(name, arguments, {}, 0);
  return Value::object(Kind::kView, std::make_shared<View>(self, what));
}

Value dict_get(Interpreter&, const Value& self, const Arguments& arguments) {
  const Parameters p("get", arguments, {"", ""}, 1);
  if (const Value* found = self.dict().find(p[0])) return *found;
  return p.has(1) ? p[1] : Value::none();
}

Value copy(Interpreter&, const Value& self, const Arguments& arguments) {
  const Parameters p("copy", arguments, {}, 0);
  // Nothing can change either of them.
  return self;
}

Value count_in(Interpreter&, const Value& self, const Arguments& arguments) {
  const Parameters p("count", arguments, {""}, 1);
  Int n = 0;
  for (const Value& item : collect(self)) n += same(item, p[0]) || equals(item, p[0]) ? 1 : 0;
  return Value::integer(n);
}

Value index_in(Interpreter&, const Value& self, const Arguments& arguments) {
  const Parameters p("index", arguments, {"", "", ""}, 1);
  if (self.is(Kind::kRange) && p.has(1)) {
    fail("TypeError", "range.index() takes exactly one argument");
  }
  const std::vector<Value> items = collect(self);
  const auto size = static_cast<Int>(items.size());
  const auto bound = [&](size_t i, Int otherwise) {
    Int value = p.int_of(i, otherwise);
    if (value < 0) value = std::max<Int>(value + size, 0);
    return std::min(value, size);
  };
  for (Int i = bound(1, 0); i < bound(2, size); ++i) {
    const Value& item = items[static_cast<size_t>(i)];
    if (same(item, p[0]) || equals(item, p[0])) return Value::integer(i);
  }
  fail("ValueError", fmt::format("{} is not in {}", repr(p[0]), type_name(self)));
}

Value is_integer(Interpreter&, const Value& self, const Arguments& arguments) {
  const Parameters p("is_integer", arguments, {}, 0);
  const double value = self.as_double();
  return Value::boolean(self.is_integral() || (std::isfinite(value) && value == std::floor(value)));
}

Value bit_length(Interpreter&, const Value& self, const Arguments& arguments) {
  const Parameters p("bit_length", arguments, {}, 0);
  Int n = 0;
  for (Int value = self.as_int(); value != 0; value /= 2) ++n;
  return Value::integer(n);
}

Value same_number(Interpreter&, const Value& self, const Arguments& arguments) {
  const Parameters p("conjugate", arguments, {}, 0);
  return self.is_integral() ? Value::integer(self.as_int()) : self;
}

Value unsupported(Interpreter&, const Value& self, const Arguments&) {
  fail("NotImplementedError",
       fmt::format("this method of {} is not supported in templates", type_name(self)));
}

constexpr auto kDictMethods = std::to_array<Method>({
    {"get", dict_get},
    {"items", [](Interpreter&, const Value& s,
                 const Arguments& a) { return view_of("items", s, a, View::What::kItems); }},
    {"keys", [](Interpreter&, const Value& s,
                const Arguments& a) { return view_of("keys", s, a, View::What::kKeys); }},
    {"values", [](Interpreter&, const Value& s,
                  const Arguments& a) { return view_of("values", s, a, View::What::kValues); }},
    {"copy", copy},
    {"fromkeys", unsupported},
});
constexpr auto kListMethods = std::to_array<Method>({
    {"index", index_in},
    {"count", count_in},
    {"copy", copy},
});
// Tuples and ranges have the first two.
constexpr size_t kTupleMethods = 2;
constexpr auto kIntMethods = std::to_array<Method>({
    {"is_integer", is_integer},
    {"conjugate", same_number},
    {"bit_length", bit_length},
    {"bit_count", unsupported},
    {"as_integer_ratio", unsupported},
    {"to_bytes", unsupported},
    {"from_bytes", unsupported},
});
constexpr auto kFloatMethods = std::to_array<Method>({
    {"is_integer", is_integer},
    {"conjugate", same_number},
    {"hex", unsupported},
    {"fromhex", unsupported},
    {"as_integer_ratio", unsupported},
});
constexpr auto kViewMethods = std::to_array<Method>({
    {"isdisjoint", unsupported},
    {"mapping", unsupported},
});

constexpr std::array<std::string_view, 5> kDictChanges = {"clear", "pop", "popitem", "setdefault",
                                                          "update"};
constexpr std::array<std::string_view, 8> kListChanges = {"append", "clear", "pop",    "reverse",
                                                          "insert", "sort",  "extend", "remove"};

const Method* search(std::span<const Method> methods, std::string_view name) noexcept {
  for (const Method& method : methods) {
    if (method.name == name) return &method;
  }
  return nullptr;
}

/// Whether the sandbox keeps `name` from templates because it would change the object.
bool is_change(const Value& object, std::string_view name) noexcept {
  const auto has = [name](const auto& names) {
    for (const std::string_view each : names) {
      if (each == name) return true;
    }
    return false;
  };
  return (object.is(Kind::kDict) && has(kDictChanges)) ||
         (object.is(Kind::kList) && has(kListChanges));
}

bool is_hidden(std::string_view name) noexcept {
  return name.size() > 4 && name.starts_with("__") && name.ends_with("__");
}

/// Attributes of numbers that are no methods.
bool number_attribute(const Value& number, std::string_view name, Value& out) {
  const bool is_real = number.is(Kind::kFloat);
  if (name == "real" || (name == "numerator" && !is_real)) {
    out = is_real ? number : Value::integer(number.as_int());
  } else if (name == "imag") {
    out = is_real ? Value::real(0) : Value::integer(0);
  } else if (name == "denominator" && !is_real) {
    out = Value::integer(1);
  } else {
    return false;
  }
  return true;
}

bool range_attribute(const Range& range, std::string_view name, Value& out) {
  if (name == "start") {
    out = Value::integer(range.start);
  } else if (name == "stop") {
    out = Value::integer(range.stop);
  } else if (name == "step") {
    out = Value::integer(range.step);
  } else {
    return false;
  }
  return true;
}

}  // namespace

const Method* find_method(const Value& object, std::string_view name) noexcept {
  switch (object.kind()) {
    case Kind::kStr:
      return find_str_method(name);
    case Kind::kDict:
      return search(kDictMethods, name);
    case Kind::kList:
      return search(kListMethods, name);
    case Kind::kTuple:
    case Kind::kRange:
      return search(std::span(kListMethods).first(kTupleMethods), name);
    case Kind::kBool:
    case Kind::kInt:
      return search(kIntMethods, name);
    case Kind::kFloat:
      return search(kFloatMethods, name);
    case Kind::kView:
      return search(kViewMethods, name);
    default:
      return nullptr;
  }
}

bool find_attribute(const Value& object, std::string_view name, Value& out) {
  if (const Method* method = find_method(object, name)) {
    out = BoundMethod::make(object, *method);
    return true;
  }
  if (object.is(Kind::kNamespace)) {
    const Value* found = object.as<Namespace>().find(name);
    if (found == nullptr) return false;
    out = *found;
  } else if (is_change(object, name) || is_hidden(name)) {
    out = undefined_hint(fmt::format("access to attribute {} of {} object is unsafe.",
                                     repr_string(name), repr_string(type_name(object))),
                         "SecurityError");
    return true;
  } else if (object.is_number()) {
    return number_attribute(object, name, out);
  } else if (object.is(Kind::kRange)) {
    return range_attribute(object.as<Range>(), name, out);
  } else if (object.is(Kind::kTuple) && object.as<List>().is_group) {
    if (name != "grouper" && name != "list") return false;
    out = object.items()[name == "list" ? 1 : 0];
  } else if (object.is(Kind::kCallable)) {
    return object.as<Callable>().attribute(name, out);
  } else if (object.is(Kind::kInstance)) {
    return object.as<Instance>().attribute(object, name, out);
  } else {
    return false;
  }
  // A namespace may hold names that the sandbox takes for private.
  if (name.starts_with("_")) {
    out = undefined_hint(fmt::format("access to attribute {} of {} object is unsafe.",
                                     repr_string(name), repr_string(type_name(object))),
                         "SecurityError");
  }
  return true;
}

}  // namespace lockstep::jinja
