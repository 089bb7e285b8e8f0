// What can be called, and with what: functions, methods, macros; and the objects `loop`, `cycler`,
// `joiner`, whose attributes are computed.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja_value.h"

namespace lockstep::jinja {

class Interpreter;

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;

  const Value* find(std::string_view name) const noexcept;
};

/// The arguments of one call by parameter. Throws TypeError for one too many, one missing, one
/// twice, or an unknown name, as Python would. A parameter named "" takes no name.
class Parameters {
 public:
  Parameters(std::string_view function, const Arguments& arguments,
             std::initializer_list<std::string_view> names, size_t n_required);

  bool has(size_t i) const noexcept { return !values_[i].is(Kind::kMissing); }
  const Value& operator[](size_t i) const noexcept { return values_[i]; }
  /// The parameter, or what it is by default. Throw TypeError for another type.
  bool truth_of(size_t i, bool otherwise) const;
  Int int_of(size_t i, Int otherwise) const;
  const std::string& text_of(size_t i, const std::string& otherwise) const;
  const std::string& text_of(size_t i) const;
  /// Not given, or None.
  bool is_none(size_t i) const noexcept { return !has(i) || values_[i].is(Kind::kNone); }

 private:
  std::string_view function_;
  std::vector<Value> values_;
};

class Callable : public Object {
 public:
  virtual const char* type() const noexcept = 0;
  virtual std::string describe() const = 0;
  virtual Value call(Interpreter& interpreter, const Arguments& arguments) const = 0;
  virtual bool attribute(std::string_view, Value&) const { return false; }

 protected:
  using Object::Object;
};

/// A function of the environment: raise_exception, range, dict, ...
class Native final : public Callable {
 public:
  using Function = Value (*)(Interpreter&, const Arguments&);
  /// `description` is what printing it shows.
  Native(const char* description, Function function)
      : Callable(sizeof(Native), 1), description_(description), function_(function) {}
  static Value make(const char* description, Function function);
  const char* type() const noexcept override { return "function"; }
  std::string describe() const override { return description_; }
  Value call(Interpreter& interpreter, const Arguments& arguments) const override {
    return function_(interpreter, arguments);
  }

 private:
  const char* description_;
  Function function_;
};

struct Method {
  const char* name;
  Value (*function)(Interpreter&, const Value& self, const Arguments&);
};

class BoundMethod final : public Callable {
 public:
  BoundMethod(Value self, const Method& method)
      : Callable(sizeof(BoundMethod), self.nesting() + 1),
        self_(std::move(self)),
        method_(method) {}
  static Value make(Value self, const Method& method);
  const char* type() const noexcept override { return "builtin_function_or_method"; }
  std::string describe() const override;
  Value call(Interpreter& interpreter, const Arguments& arguments) const override {
    return method_.function(interpreter, self_, arguments);
  }

 private:
  Value self_;
  const Method& method_;
};

class Instance : public Object {
 public:
  virtual const char* type() const noexcept = 0;
  virtual const char* module() const noexcept = 0;
  virtual std::string describe() const = 0;
  virtual bool length(Int&) { return false; }
  /// `self` is the value that holds this object, for the methods that are bound to it.
  virtual bool attribute(const Value& self, std::string_view name, Value& out) = 0;
  virtual bool is_callable() const noexcept { return false; }
  virtual Value call(Interpreter& interpreter, const Arguments& arguments);

 protected:
  using Object::Object;
};

/// Calls `function`. Throws TypeError where it cannot be called.
Value call_value(Interpreter& interpreter, const Value& function, const Arguments& arguments);
bool is_callable(const Value& value) noexcept;

/// getattr(): methods of built-in types and attributes of the objects of a template. False where
/// there is none; an attribute the sandbox forbids is an undefined value.
bool find_attribute(const Value& object, std::string_view name, Value& out);
/// The methods of str, and of the other built-in types; nullptr where there is none.
const Method* find_str_method(std::string_view name) noexcept;
const Method* find_method(const Value& object, std::string_view name) noexcept;

/// The functions every template sees; nullptr where there is none of that name.
const Value* find_global(std::string_view name);

}  // namespace lockstep::jinja
