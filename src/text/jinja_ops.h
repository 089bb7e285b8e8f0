// The operators, subscripts and iteration of values.
#pragma once

#include <string_view>
#include <vector>

#include "text/jinja_value.h"

namespace lockstep::jinja {

enum class Operator : uint8_t {
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kFloorDivide,
  kModulo,
  kPower
};

/// `a op b`. Throws TypeError, ZeroDivisionError, UndefinedError as Python does.
Value binary(Operator op, const Value& a, const Value& b);
Value negative(const Value& value);
Value positive(const Value& value);
/// `item in container`.
bool contains(const Value& container, const Value& item);

/// `object[key]` of a sandboxed environment: the item, else the attribute, else undefined.
Value get_item(const Value& object, const Value& key);
/// `object.name`: the attribute, else the item, else undefined.
Value get_attribute(const Value& object, const Value& name);
/// `object[start:stop:step]`; none where a bound was left out.
Value get_slice(const Value& object, const Value& start, const Value& stop, const Value& step);

/// Goes through a value once, as `iter()` does. Throws TypeError for what cannot be iterated over.
class Cursor {
 public:
  explicit Cursor(Value value);
  bool next(Value& out);

 private:
  Value value_;
  size_t index_ = 0;
};

bool is_iterable(const Value& value) noexcept;
/// list(value).
std::vector<Value> collect(const Value& value);
/// reversed(value), lazily; false where Python has no reversed() for it.
bool reversed(const Value& value, Value& out);

/// Markup of `&<>'"` in what is not markup already.
std::string escape_html(std::string_view text);
Value escape(const Value& value);

}  // namespace lockstep::jinja
