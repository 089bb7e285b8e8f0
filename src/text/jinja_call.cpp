#include "text/jinja_call.h"

#include <fmt/format.h>

namespace lockstep::jinja {

const Value* Arguments::find(std::string_view name) const noexcept {
  for (const auto& [key, value] : named) {
    if (key == name) return &value;
  }
  return nullptr;
}

Parameters::Parameters(std::string_view function, const Arguments& arguments,
                       std::initializer_list<std::string_view> names, size_t n_required)
    : function_(function), values_(names.size()) {
  if (arguments.positional.size() > names.size()) {
    fail("TypeError", fmt::format("{}() takes at most {} arguments ({} given)", function,
                                  names.size(), arguments.positional.size()));
  }
  for (size_t i = 0; i < arguments.positional.size(); ++i) values_[i] = arguments.positional[i];
  for (const auto& [key, value] : arguments.named) {
    size_t i = 0;
    while (i < names.size() && (key.empty() || names.begin()[i] != key)) ++i;
    if (i == names.size()) {
      fail("TypeError", fmt::format("{}() got an unexpected keyword argument '{}'", function, key));
    }
    if (has(i)) {
      fail("TypeError", fmt::format("{}() got multiple values for argument '{}'", function, key));
    }
    values_[i] = value;
  }
  for (size_t i = 0; i < n_required; ++i) {
    if (!has(i)) {
      fail("TypeError",
           fmt::format("{}() misses its argument {} ('{}')", function, i + 1, names.begin()[i]));
    }
  }
}

bool Parameters::truth_of(size_t i, bool otherwise) const {
  return has(i) ? truth(values_[i]) : otherwise;
}

Int Parameters::int_of(size_t i, Int otherwise) const {
  if (!has(i)) return otherwise;
  if (!values_[i].is_integral()) {
    fail("TypeError",
         fmt::format("'{}' object cannot be interpreted as an integer", type_name(values_[i])));
  }
  return values_[i].as_int();
}

const std::string& Parameters::text_of(size_t i, const std::string& otherwise) const {
  return has(i) ? text_of(i) : otherwise;
}

const std::string& Parameters::text_of(size_t i) const {
  if (!values_[i].is(Kind::kStr)) {
    fail("TypeError", fmt::format("{}() argument {} must be str, not {}", function_, i + 1,
                                  type_name(values_[i])));
  }
  return values_[i].text();
}

Value Native::make(const char* description, Function function) {
  return Value::object(Kind::kCallable, std::make_shared<Native>(description, function));
}

Value BoundMethod::make(Value self, const Method& method) {
  return Value::object(Kind::kCallable, std::make_shared<BoundMethod>(std::move(self), method));
}

std::string BoundMethod::describe() const {
  return fmt::format("<built-in method {} of {} object>", method_.name, type_name(self_));
}

Value Instance::call(Interpreter&, const Arguments&) {
  fail("TypeError", fmt::format("'{}' object is not callable", type()));
}

bool is_callable(const Value& value) noexcept {
  return value.is(Kind::kCallable) || value.is(Kind::kUndefined) ||
         (value.is(Kind::kInstance) && value.as<Instance>().is_callable());
}

Value call_value(Interpreter& interpreter, const Value& function, const Arguments& arguments) {
  if (function.is(Kind::kUndefined)) fail_undefined(function);
  if (function.is(Kind::kCallable)) return function.as<Callable>().call(interpreter, arguments);
  if (function.is(Kind::kInstance)) return function.as<Instance>().call(interpreter, arguments);
  fail("TypeError", fmt::format("'{}' object is not callable", type_name(function)));
}

}  // namespace lockstep::jinja
