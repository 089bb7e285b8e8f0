#include "text/jinja_value.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>

#include "text/jinja_call.h"
#include "text/jinja_unicode.h"

namespace lockstep::jinja {
namespace {

int nesting_of(const std::vector<Value>& items) {
  int deepest = 0;
  for (const Value& item : items) deepest = std::max(deepest, item.nesting());
  return deepest + 1;
}

int nesting_of(const std::vector<Dict::Item>& items) {
  int deepest = 0;
  for (const auto& [key, value] : items) {
    deepest = std::max({deepest, key.nesting(), value.nesting()});
  }
  return deepest + 1;
}

constexpr size_t kLinearItems = 8;

}  // namespace

Object::Object(uint64_t bytes, int nesting)
    : nesting_(nesting), budget_(Budget::current()), bytes_(bytes) {
  if (nesting > kMaxNesting) {
    budget_ = nullptr;
    fail("LimitError", fmt::format("values nest more than {} deep", kMaxNesting));
  }
  if (budget_ != nullptr) budget_->hold(bytes);
}

Value Value::string(std::string text) {
  return object(Kind::kStr, std::make_shared<Str>(std::move(text), false));
}
Value Value::markup(std::string text) {
  return object(Kind::kStr, std::make_shared<Str>(std::move(text), true));
}
Value Value::list(std::vector<Value> items) {
  return object(Kind::kList, std::make_shared<List>(std::move(items)));
}
Value Value::tuple(std::vector<Value> items) {
  return object(Kind::kTuple, std::make_shared<List>(std::move(items)));
}

const Str& Value::str() const noexcept { return as<Str>(); }
const std::string& Value::text() const noexcept { return as<Str>().text; }
bool Value::is_markup() const noexcept { return kind_ == Kind::kStr && as<Str>().markup; }
const std::vector<Value>& Value::items() const noexcept { return as<List>().items; }
const Dict& Value::dict() const noexcept { return as<Dict>(); }

Str::Str(std::string text_, bool markup_)
    : Object(sizeof(Str) + text_.size(), 0),
      text(std::move(text_)),
      length(count_code_points(text)),
      markup(markup_) {}

List::List(std::vector<Value> items_)
    : Object(sizeof(List) + items_.size() * sizeof(Value), nesting_of(items_)),
      items(std::move(items_)) {}

Dict::Dict(std::vector<Item> items)
    : Object(sizeof(Dict) + items.size() * sizeof(Item), nesting_of(items)) {
  items_.reserve(items.size());
  for (Item& item : items) {
    const uint64_t hash = hash_value(item.first);
    if (const Value* known = lookup(hash, item.first)) {
      // items_ is ours: the const of lookup() is for readers.
      *const_cast<Value*>(known) = std::move(item.second);
      continue;
    }
    items_.push_back(std::move(item));
    if (items_.size() == kLinearItems + 1) {
      for (size_t i = 0; i < kLinearItems; ++i) index_.emplace(hash_value(items_[i].first), i);
    }
    if (items_.size() > kLinearItems) index_.emplace(hash, items_.size() - 1);
  }
}

Value Dict::make(std::vector<Item> items) {
  return Value::object(Kind::kDict, std::make_shared<Dict>(std::move(items)));
}

const Value* Dict::lookup(uint64_t hash, const Value& key) const {
  if (index_.empty()) {
    for (const Item& item : items_) {
      if (equals(item.first, key)) return &item.second;
    }
    return nullptr;
  }
  const auto [begin, end] = index_.equal_range(hash);
  for (auto it = begin; it != end; ++it) {
    if (equals(items_[it->second].first, key)) return &items_[it->second].second;
  }
  return nullptr;
}

const Value* Dict::find(const Value& key) const { return lookup(hash_value(key), key); }
const Value* Dict::find(std::string_view key) const {
  check_string_size(key.size());
  if (index_.empty()) {
    for (const Item& item : items_) {
      if (item.first.is(Kind::kStr) && item.first.text() == key) return &item.second;
    }
    return nullptr;
  }
  return find(Value::string(std::string(key)));
}

Int Range::size() const noexcept {
  if (step > 0) return start < stop ? (stop - start - 1) / step + 1 : 0;
  return start > stop ? (start - stop - 1) / -step + 1 : 0;
}

Value View::at(size_t index) const {
  const Dict::Item& item = dict.dict().items()[index];
  switch (what) {
    case What::kKeys:
      return item.first;
    case What::kValues:
      return item.second;
    case What::kItems:
      break;
  }
  return Value::tuple({item.first, item.second});
}

Value Iterator::make(const char* type, int nesting, Next next) {
  return Value::object(Kind::kIterator, std::make_shared<Iterator>(type, nesting, std::move(next)));
}

const Value* Namespace::find(std::string_view name) const noexcept {
  for (const auto& [key, value] : attributes) {
    if (key == name) return &value;
  }
  return nullptr;
}

void Namespace::set(std::string_view name, Value value) {
  if (value.nesting() >= kMaxNesting) {
    fail("LimitError", fmt::format("values nest more than {} deep", kMaxNesting));
  }
  nesting_ = std::max(nesting_, value.nesting() + 1);
  for (auto& [key, old] : attributes) {
    if (key == name) {
      old = std::move(value);
      return;
    }
  }
  // The account of the object itself cannot grow; the steps bound the attributes.
  check_list_size(attributes.size());
  attributes.emplace_back(name, std::move(value));
}

Value undefined_hint(std::string hint, const char* type) {
  return Value::object(Kind::kUndefined, std::make_shared<Undefined>(std::move(hint), type));
}

Value undefined_name(std::string_view name) {
  return undefined_hint(fmt::format("{} is undefined", repr_string(name)));
}

Value undefined_attribute(const Value& object, const Value& name) {
  if (!name.is(Kind::kStr)) {
    return undefined_hint(fmt::format("{} has no element {}", object_name(object), repr(name)));
  }
  return undefined_hint(fmt::format("{} has no attribute {}", repr_string(object_name(object)),
                                    repr_string(name.text())));
}

void fail_undefined(const Value& value) {
  const auto& undefined = value.as<Undefined>();
  fail(undefined.type, undefined.hint);
}

std::string_view type_name(const Value& value) noexcept {
  switch (value.kind()) {
    case Kind::kMissing:
    case Kind::kUndefined:
      return "Undefined";
    case Kind::kNone:
      return "NoneType";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
      return "int";
    case Kind::kFloat:
      return "float";
    case Kind::kStr:
      return value.is_markup() ? "Markup" : "str";
    case Kind::kList:
      return "list";
    case Kind::kTuple:
      return value.as<List>().is_group ? "_GroupTuple" : "tuple";
    case Kind::kDict:
      return "dict";
    case Kind::kRange:
      return "range";
    case Kind::kView:
      switch (value.as<View>().what) {
        case View::What::kKeys:
          return "dict_keys";
        case View::What::kValues:
          return "dict_values";
        case View::What::kItems:
          return "dict_items";
      }
      break;
    case Kind::kIterator:
      return value.as<Iterator>().type;
    case Kind::kNamespace:
      return "Namespace";
    case Kind::kCallable:
      return value.as<Callable>().type();
    case Kind::kInstance:
      return value.as<Instance>().type();
  }
  return "object";
}

std::string object_name(const Value& value) {
  switch (value.kind()) {
    case Kind::kNone:
      return "None";
    case Kind::kNamespace:
      return "jinja2.utils.Namespace object";
    case Kind::kUndefined:
      return "jinja2.runtime.Undefined object";
    case Kind::kInstance:
      return fmt::format("{}.{} object", value.as<Instance>().module(), type_name(value));
    case Kind::kStr:
      return value.is_markup() ? "markupsafe.Markup object" : "str object";
    case Kind::kCallable:
      if (type_name(value) == "Macro") return "jinja2.runtime.Macro object";
      break;
    default:
      break;
  }
  return fmt::format("{} object", type_name(value));
}

bool truth(const Value& value) {
  switch (value.kind()) {
    case Kind::kMissing:
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
    case Kind::kInt:
      return value.as_int() != 0;
    case Kind::kFloat:
      return value.as_double() != 0;
    case Kind::kStr:
      return !value.text().empty();
    case Kind::kIterator:
    case Kind::kNamespace:
    case Kind::kCallable:
      return true;
    default:
      break;
  }
  Int n = 1;
  return !length(value, n) || n != 0;
}

bool length(const Value& value, Int& out) {
  switch (value.kind()) {
    case Kind::kUndefined:
      out = 0;
      return true;
    case Kind::kStr:
      out = static_cast<Int>(value.str().length);
      return true;
    case Kind::kList:
    case Kind::kTuple:
      out = static_cast<Int>(value.items().size());
      return true;
    case Kind::kDict:
      out = static_cast<Int>(value.dict().items().size());
      return true;
    case Kind::kRange:
      out = value.as<Range>().size();
      return true;
    case Kind::kView:
      out = static_cast<Int>(value.as<View>().dict.dict().items().size());
      return true;
    case Kind::kInstance:
      return value.as<Instance>().length(out);
    default:
      return false;
  }
}

Int checked_add(Int a, Int b) {
  Int out;
  if (__builtin_add_overflow(a, b, &out)) fail("LimitError", "an integer of more than 127 bits");
  return out;
}

Int checked_multiply(Int a, Int b) {
  Int out;
  if (__builtin_mul_overflow(a, b, &out)) fail("LimitError", "an integer of more than 127 bits");
  return out;
}

}  // namespace lockstep::jinja
