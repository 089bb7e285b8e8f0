// Items, attributes, slices and iteration of values.
#include <fmt/format.h>

#include <algorithm>

#include "text/jinja_call.h"
#include "text/jinja_ops.h"
#include "text/jinja_unicode.h"

namespace lockstep::jinja {
namespace {

/// `index` counted from the end where negative; false when there is no such item.
bool find_index(const Value& key, Int size, size_t& out) {
  if (!key.is_integral()) return false;
  Int index = key.as_int();
  if (index < 0) index += size;
  if (index < 0 || index >= size) return false;
  out = static_cast<size_t>(index);
  return true;
}

Value like(const Value& model, std::string text) {
  return model.is_markup() ? Value::markup(std::move(text)) : Value::string(std::move(text));
}

Value character_at(const Value& value, size_t index) {
  const Str& str = value.str();
  if (str.is_ascii()) return like(value, std::string(1, str.text[index]));
  Budget::current()->step(index / 16);
  const size_t begin = byte_offset(str.text, index);
  size_t end = begin;
  next_code_point(str.text, end);
  return like(value, str.text.substr(begin, end - begin));
}

bool is_hashable(const Value& value) {
  if (!value.is(Kind::kTuple)) {
    if (value.is(Kind::kView)) return value.as<View>().what == View::What::kValues;
    return !value.is(Kind::kList) && !value.is(Kind::kDict);
  }
  return std::all_of(value.items().begin(), value.items().end(), is_hashable);
}

/// `object[key]`; false for what Python refuses with TypeError, IndexError or KeyError.
bool find_item(const Value& object, const Value& key, Value& out) {
  size_t index = 0;
  switch (object.kind()) {
    case Kind::kUndefined:
      fail_undefined(object);
    case Kind::kStr:
      if (!find_index(key, static_cast<Int>(object.str().length), index)) return false;
      out = character_at(object, index);
      return true;
    case Kind::kList:
    case Kind::kTuple:
      if (!find_index(key, static_cast<Int>(object.items().size()), index)) return false;
      out = object.items()[index];
      return true;
    case Kind::kRange: {
      const auto& range = object.as<Range>();
      if (!find_index(key, range.size(), index)) return false;
      out = Value::integer(range.at(static_cast<Int>(index)));
      return true;
    }
    case Kind::kDict: {
      if (!is_hashable(key)) return false;
      const Value* found =
          key.is(Kind::kStr) ? object.dict().find(key.text()) : object.dict().find(key);
      if (found == nullptr) return false;
      out = *found;
      return true;
    }
    default:
      return false;
  }
}

/// A bound of a slice, cut to [low, high]; `otherwise` where there is none.
Int bound_of(const Value& value, Int size, Int low, Int high, Int otherwise) {
  if (value.is(Kind::kNone)) return otherwise;
  if (!value.is_integral()) {
    fail("TypeError", "slice indices must be integers or None or have an __index__ method");
  }
  Int bound = value.as_int();
  if (bound < 0) bound = std::max<Int>(bound + size, low);
  return std::min(bound, high);
}

struct Slice {
  Int start, stop, step, count;
};

Slice resolve_slice(Int size, const Value& start, const Value& stop, const Value& step) {
  Int by = 1;
  if (!step.is(Kind::kNone)) by = bound_of(step, 0, step.as_int(), step.as_int(), 1);
  if (by == 0) fail("ValueError", "slice step cannot be zero");
  const Int low = by < 0 ? -1 : 0, high = by < 0 ? size - 1 : size;
  const Int from = bound_of(start, size, low, high, by < 0 ? high : low);
  const Int to = bound_of(stop, size, low, high, by < 0 ? low : high);
  Range range(from, to, by);
  return {from, to, by, range.size()};
}

Value slice_text(const Value& object, const Slice& slice) {
  const Str& str = object.str();
  check_string_size(str.text.size());
  if (slice.step == 1) {
    const auto start = static_cast<size_t>(slice.start), n = static_cast<size_t>(slice.count);
    if (str.is_ascii()) return like(object, str.text.substr(start, n));
    const size_t begin = byte_offset(str.text, start);
    const std::string_view rest = std::string_view(str.text).substr(begin);
    return like(object, std::string(rest.substr(0, byte_offset(rest, n))));
  }
  const std::u32string text = decode(str.text);
  std::string out;
  for (Int i = 0; i < slice.count; ++i) {
    append_utf8(out, text[static_cast<size_t>(slice.start + i * slice.step)]);
  }
  return like(object, std::move(out));
}

}  // namespace

Value get_item(const Value& object, const Value& key) {
  Value out;
  if (find_item(object, key, out)) return out;
  if (key.is(Kind::kStr) && find_attribute(object, key.text(), out)) return out;
  return undefined_attribute(object, key);
}

Value get_attribute(const Value& object, const Value& name) {
  Value out;
  if (object.is(Kind::kUndefined)) fail_undefined(object);
  if (find_attribute(object, name.text(), out)) return out;
  if (find_item(object, name, out)) return out;
  return undefined_attribute(object, name);
}

Value get_slice(const Value& object, const Value& start, const Value& stop, const Value& step) {
  if (object.is(Kind::kUndefined)) fail_undefined(object);
  if (object.is(Kind::kDict)) fail("KeyError", "a slice is no key of the dict");
  Int size = 0;
  if (object.is(Kind::kView) || object.is(Kind::kInstance) || !length(object, size)) {
    fail("TypeError",
         fmt::format("'{}' object is not subscriptable by a slice", type_name(object)));
  }
  for (const Value* bound : {&start, &stop, &step}) {
    if (!bound->is(Kind::kNone) && !bound->is_integral()) {
      fail("TypeError", "slice indices must be integers or None or have an __index__ method");
    }
  }
  const Slice slice = resolve_slice(size, start, stop, step);
  if (object.is(Kind::kStr)) return slice_text(object, slice);
  if (object.is(Kind::kRange)) {
    const auto& range = object.as<Range>();
    return Value::object(Kind::kRange,
                         std::make_shared<Range>(range.at(slice.start), range.at(slice.stop),
                                                 checked_multiply(range.step, slice.step)));
  }
  check_list_size(static_cast<uint64_t>(slice.count));
  std::vector<Value> items;
  items.reserve(static_cast<size_t>(slice.count));
  for (Int i = 0; i < slice.count; ++i) {
    items.push_back(object.items()[static_cast<size_t>(slice.start + i * slice.step)]);
  }
  return object.is(Kind::kList) ? Value::list(std::move(items)) : Value::tuple(std::move(items));
}

bool is_iterable(const Value& value) noexcept {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kStr:
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kDict:
    case Kind::kRange:
    case Kind::kView:
    case Kind::kIterator:
      return true;
    default:
      return false;
  }
}

Cursor::Cursor(Value value) : value_(std::move(value)) {
  if (!is_iterable(value_)) {
    fail("TypeError", fmt::format("'{}' object is not iterable", type_name(value_)));
  }
}

bool Cursor::next(Value& out) {
  if (Budget* budget = Budget::current()) budget->step();
  switch (value_.kind()) {
    case Kind::kStr: {
      const std::string& text = value_.text();
      if (index_ >= text.size()) return false;
      const size_t begin = index_;
      next_code_point(text, index_);
      // Markup, too, is gone through as plain characters.
      out = Value::string(text.substr(begin, index_ - begin));
      return true;
    }
    case Kind::kList:
    case Kind::kTuple:
      if (index_ >= value_.items().size()) return false;
      out = value_.items()[index_++];
      return true;
    case Kind::kDict:
      if (index_ >= value_.dict().items().size()) return false;
      out = value_.dict().items()[index_++].first;
      return true;
    case Kind::kRange: {
      const auto& range = value_.as<Range>();
      if (static_cast<Int>(index_) >= range.size()) return false;
      out = Value::integer(range.at(static_cast<Int>(index_++)));
      return true;
    }
    case Kind::kView: {
      const auto& view = value_.as<View>();
      if (index_ >= view.dict.dict().items().size()) return false;
      out = view.at(index_++);
      return true;
    }
    case Kind::kIterator: {
      const Nested nested;
      return value_.as<Iterator>().next(out);
    }
    default:
      return false;
  }
}

std::vector<Value> collect(const Value& value) {
  if (value.is_sequence()) {
    check_list_size(value.items().size());
    return value.items();
  }
  std::vector<Value> out;
  Cursor cursor(value);
  for (Value item; cursor.next(item);) {
    if (out.size() % 1024 == 1023) check_list_size(out.size());
    out.push_back(std::move(item));
  }
  return out;
}

bool reversed(const Value& value, Value& out) {
  std::vector<Value> items;
  const char* type = "reversed";
  switch (value.kind()) {
    case Kind::kStr:
    case Kind::kUndefined:
    case Kind::kTuple:
    case Kind::kDict:
    case Kind::kView:
    case Kind::kRange:
      break;
    case Kind::kList:
      type = "list_reverseiterator";
      break;
    default:
      return false;
  }
  auto rest = std::make_shared<List>(collect(value));
  out = Iterator::make(type, rest->nesting() + 1,
                       [rest, left = rest->items.size()](Value& item) mutable {
                         if (left == 0) return false;
                         item = rest->items[--left];
                         return true;
                       });
  return true;
}

}  // namespace lockstep::jinja
