// The values of a template: Python's, as far as a template can meet them. Immutable but for
// namespaces, iterators, cyclers and joiners, as the sandbox has it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/jinja_budget.h"

namespace lockstep::jinja {

/// Wide enough for any integer of a JSON file; what does not fit is an error, where Python's grow.
__extension__ typedef __int128 Int;

enum class Kind : uint8_t {
  kMissing,  ///< a variable without value; never the value of an expression
  kUndefined,
  kNone,
  kBool,
  kInt,
  kFloat,
  kStr,
  kList,
  kTuple,
  kDict,
  kRange,
  kView,
  kIterator,
  kNamespace,
  kCallable,
  kInstance,  ///< loop, cycler, joiner
};

/// What a value points at. Charges the current budget while it lives.
class Object {
 public:
  virtual ~Object() {
    if (budget_ != nullptr) budget_->release(bytes_);
  }
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  /// Levels of values inside, itself included.
  int nesting() const noexcept { return nesting_; }

 protected:
  /// Throws LimitError when there is no room or it nests too deep.
  Object(uint64_t bytes, int nesting);
  int nesting_;

 private:
  Budget* budget_;
  uint64_t bytes_;
};

struct Str;
struct List;
class Dict;

class Value {
 public:
  Value() = default;
  static Value none() { return Value(Kind::kNone); }
  static Value boolean(bool value) { return Value(Kind::kBool, value ? 1 : 0); }
  static Value integer(Int value) { return Value(Kind::kInt, value); }
  static Value real(double value) {
    Value out(Kind::kFloat);
    out.real_ = value;
    return out;
  }
  static Value string(std::string text);
  /// A str that `|safe` or `|escape` made: what is joined to it is escaped.
  static Value markup(std::string text);
  static Value list(std::vector<Value> items);
  static Value tuple(std::vector<Value> items);
  static Value object(Kind kind, std::shared_ptr<Object> object) {
    Value out(kind);
    out.object_ = std::move(object);
    return out;
  }

  Kind kind() const noexcept { return kind_; }
  bool is(Kind kind) const noexcept { return kind_ == kind; }
  bool is_integral() const noexcept { return kind_ == Kind::kInt || kind_ == Kind::kBool; }
  bool is_number() const noexcept { return is_integral() || kind_ == Kind::kFloat; }
  bool is_sequence() const noexcept { return kind_ == Kind::kList || kind_ == Kind::kTuple; }
  Int as_int() const noexcept { return integer_; }  // of a kInt or kBool
  double as_double() const noexcept {
    return kind_ == Kind::kFloat ? real_ : static_cast<double>(integer_);
  }
  const Str& str() const noexcept;
  const std::string& text() const noexcept;  // of a kStr
  bool is_markup() const noexcept;
  const std::vector<Value>& items() const noexcept;  // of a kList or kTuple
  const Dict& dict() const noexcept;
  Object* object() const noexcept { return object_.get(); }
  const std::shared_ptr<Object>& shared() const noexcept { return object_; }
  template <typename T>
  T& as() const noexcept {
    return static_cast<T&>(*object_);
  }
  int nesting() const noexcept { return object_ ? object_->nesting() : 0; }

 private:
  explicit Value(Kind kind, Int integer = 0) : kind_(kind), integer_(integer) {}
  Kind kind_ = Kind::kMissing;
  union {
    Int integer_ = 0;
    double real_;
  };
  std::shared_ptr<Object> object_;
};

struct Str final : Object {
  Str(std::string text_, bool markup_);
  std::string text;
  size_t length;  // code points
  bool markup;
  bool is_ascii() const noexcept { return length == text.size(); }
};

struct List final : Object {
  explicit List(std::vector<Value> items_);
  std::vector<Value> items;
  /// The pairs of `groupby`, which also have the attributes `grouper` and `list`.
  bool is_group = false;
};

/// Insertion order; a key that comes again keeps its place and takes the new value.
class Dict final : public Object {
 public:
  using Item = std::pair<Value, Value>;
  /// Throws TypeError for a key that cannot be hashed.
  explicit Dict(std::vector<Item> items);
  static Value make(std::vector<Item> items);
  const std::vector<Item>& items() const noexcept { return items_; }
  /// nullptr when absent. Throws TypeError for a key that cannot be hashed.
  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;

 private:
  const Value* lookup(uint64_t hash, const Value& key) const;
  std::vector<Item> items_;
  std::unordered_multimap<uint64_t, size_t> index_;  // empty while there are few items
};

struct Range final : Object {
  Range(Int start_, Int stop_, Int step_)
      : Object(sizeof(Range), 1), start(start_), stop(stop_), step(step_) {}
  Int start, stop, step;
  Int size() const noexcept;
  Int at(Int index) const noexcept { return start + index * step; }
};

/// keys(), values() or items() of a dict.
struct View final : Object {
  enum class What : uint8_t { kKeys, kValues, kItems };
  View(Value dict_, What what_)
      : Object(sizeof(View), dict_.nesting() + 1), dict(std::move(dict_)), what(what_) {}
  Value dict;
  What what;
  Value at(size_t index) const;
};

/// Something that can be gone through once.
struct Iterator final : Object {
  /// `next` sets its argument and returns true, or returns false at the end.
  using Next = std::function<bool(Value&)>;
  Iterator(const char* type_, int nesting, Next next_)
      : Object(sizeof(Iterator), nesting), type(type_), next(std::move(next_)) {}
  static Value make(const char* type, int nesting, Next next);
  const char* type;
  Next next;
};

/// Attributes that `set ns.x = ...` changes.
struct Namespace final : Object {
  Namespace() : Object(sizeof(Namespace), 1) {}
  std::vector<std::pair<std::string, Value>> attributes;
  const Value* find(std::string_view name) const noexcept;
  /// Throws LimitError when what it holds nests too deep.
  void set(std::string_view name, Value value);
};

struct Undefined final : Object {
  Undefined(std::string hint_, const char* type_)
      : Object(sizeof(Undefined), 0), hint(std::move(hint_)), type(type_) {}
  std::string hint;  // the message
  const char* type;  // of the error
};

/// The undefined value of a name, with the message that using it fails with.
Value undefined_name(std::string_view name);
Value undefined_attribute(const Value& object, const Value& name);
Value undefined_hint(std::string hint, const char* type = "UndefinedError");
/// Throws the error that using `value`, which is undefined, means.
[[noreturn]] void fail_undefined(const Value& value);

/// "str", "int", "list", ... as Python's type(value).__name__.
std::string_view type_name(const Value& value) noexcept;
/// 'str object', 'None', 'jinja2.utils.Namespace object', as messages name what lacks something.
std::string object_name(const Value& value);
bool truth(const Value& value);
/// Python's str() and repr(). Of values without a stable one (functions, iterators) their type.
std::string to_str(const Value& value);
std::string repr(const Value& value);
std::string repr_string(std::string_view text);
std::string repr_float(double value);
std::string int_to_string(Int value);

bool equals(const Value& a, const Value& b);
/// The same object, as `is` decides.
bool same(const Value& a, const Value& b);
enum class Order { kLess, kLessEqual, kGreater, kGreaterEqual };
/// Throws TypeError for values without an order.
bool compare(const Value& a, const Value& b, Order order);
/// Throws TypeError for lists, dicts and what holds them.
uint64_t hash_value(const Value& value);
/// len(); false where there is none.
bool length(const Value& value, Int& out);

/// "TypeError: unsupported operand ..." and the like need these.
Int checked_add(Int a, Int b);
Int checked_multiply(Int a, Int b);

}  // namespace lockstep::jinja
