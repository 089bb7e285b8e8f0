// `loop`, and the functions every template sees.
#include <fmt/format.h>

#include <array>
#include <unordered_map>

#include "text/jinja_eval.h"

namespace lockstep::jinja {
namespace {

Loop& loop_of(const Value& self) { return self.as<Loop>(); }

const Method kCycle = {"cycle", [](Interpreter&, const Value& self, const Arguments& arguments) {
                         return loop_of(self).cycle(arguments);
                       }};
const Method kChanged = {"changed",
                         [](Interpreter&, const Value& self, const Arguments& arguments) {
                           return loop_of(self).changed(arguments);
                         }};

class Cycler final : public Instance {
 public:
  explicit Cycler(const Value& items)
      : Instance(sizeof(Cycler), items.nesting() + 1), items_(items) {}
  const char* type() const noexcept override { return "Cycler"; }
  const char* module() const noexcept override { return "jinja2.utils"; }
  std::string describe() const override { return "<jinja2.utils.Cycler object>"; }
  bool attribute(const Value& self, std::string_view name, Value& out) override {
    static const Method kNext = {"next", [](Interpreter&, const Value& cycler, const Arguments&) {
                                   return cycler.as<Cycler>().next();
                                 }};
    static const Method kReset = {"reset", [](Interpreter&, const Value& cycler, const Arguments&) {
                                    cycler.as<Cycler>().position_ = 0;
                                    return Value::none();
                                  }};
    if (name == "next") {
      out = BoundMethod::make(self, kNext);
    } else if (name == "reset") {
      out = BoundMethod::make(self, kReset);
    } else if (name == "current") {
      out = items_.items()[position_];
    } else if (name == "items") {
      out = items_;
    } else if (name == "pos") {
      out = Value::integer(static_cast<Int>(position_));
    } else {
      return false;
    }
    return true;
  }

 private:
  Value next() {
    Value value = items_.items()[position_];
    position_ = (position_ + 1) % items_.items().size();
    return value;
  }
  Value items_;
  size_t position_ = 0;
};

class Joiner final : public Instance {
 public:
  explicit Joiner(Value separator)
      : Instance(sizeof(Joiner), separator.nesting() + 1), separator_(std::move(separator)) {}
  const char* type() const noexcept override { return "Joiner"; }
  const char* module() const noexcept override { return "jinja2.utils"; }
  std::string describe() const override { return "<jinja2.utils.Joiner object>"; }
  bool attribute(const Value&, std::string_view name, Value& out) override {
    if (name == "sep") {
      out = separator_;
    } else if (name == "used") {
      out = Value::boolean(used_);
    } else {
      return false;
    }
    return true;
  }
  bool is_callable() const noexcept override { return true; }
  Value call(Interpreter&, const Arguments& arguments) override {
    const Parameters parameters("Joiner.__call__", arguments, {}, 0);
    if (used_) return separator_;
    used_ = true;
    return Value::string("");
  }

 private:
  Value separator_;
  bool used_ = false;
};

Value make_range(Interpreter&, const Arguments& arguments) {
  constexpr Int kMaxRange = 100000;
  const Parameters p("range", arguments, {"", "", ""}, 1);
  const Int first = p.int_of(0, 0);
  const Int start = p.has(1) ? first : 0, stop = p.has(1) ? p.int_of(1, 0) : first;
  const Int step = p.int_of(2, 1);
  if (step == 0) fail("ValueError", "range() arg 3 must not be zero");
  // Beyond this the number of values would not fit either.
  constexpr Int kFar = static_cast<Int>(1) << 100;
  if (start > kFar || start < -kFar || stop > kFar || stop < -kFar || step > kFar || step < -kFar) {
    fail("OverflowError", "Python int too large to convert to C ssize_t");
  }
  auto range = std::make_shared<Range>(start, stop, step);
  if (range->size() > kMaxRange) {
    fail("OverflowError", fmt::format("Range too big. The sandbox blocks ranges larger than "
                                      "MAX_RANGE ({}).",
                                      static_cast<int>(kMaxRange)));
  }
  return Value::object(Kind::kRange, std::move(range));
}

/// The arguments of dict() and namespace(): a mapping or pairs, and named ones.
std::vector<Dict::Item> dict_items(const char* function, const Arguments& arguments) {
  if (arguments.positional.size() > 1) {
    fail("TypeError", fmt::format("{} expected at most 1 argument, got {}", function,
                                  arguments.positional.size()));
  }
  std::vector<Dict::Item> items;
  if (!arguments.positional.empty()) {
    const Value& source = arguments.positional[0];
    if (source.is(Kind::kUndefined)) {
      fail_undefined(source);
    } else if (source.is(Kind::kDict)) {
      items = source.dict().items();
    } else {
      for (const Value& pair : collect(source)) {
        const std::vector<Value> two = collect(pair);
        if (two.size() != 2) {
          fail("ValueError", fmt::format("dictionary update sequence element #{} has length {}; 2 "
                                         "is required",
                                         items.size(), two.size()));
        }
        items.emplace_back(two[0], two[1]);
      }
    }
  }
  for (const auto& [name, value] : arguments.named) {
    items.emplace_back(Value::string(name), value);
  }
  return items;
}

Value make_dict(Interpreter&, const Arguments& arguments) {
  return Dict::make(dict_items("dict", arguments));
}

Value make_namespace(Interpreter& interpreter, const Arguments& arguments) {
  auto out = std::make_shared<Namespace>();
  interpreter.keep(out);
  for (const auto& [key, value] : dict_items("dict", arguments)) {
    if (key.is(Kind::kStr)) out->set(key.text(), value);
  }
  return Value::object(Kind::kNamespace, std::move(out));
}

Value make_cycler(Interpreter&, const Arguments& arguments) {
  if (!arguments.named.empty()) fail("TypeError", "cycler() takes no keyword arguments");
  if (arguments.positional.empty()) fail("RuntimeError", "at least one item has to be provided");
  return Value::object(Kind::kInstance,
                       std::make_shared<Cycler>(Value::tuple(arguments.positional)));
}

Value make_joiner(Interpreter&, const Arguments& arguments) {
  const Parameters p("joiner", arguments, {"sep"}, 0);
  return Value::object(Kind::kInstance,
                       std::make_shared<Joiner>(p.has(0) ? p[0] : Value::string(", ")));
}

Value raise_exception(Interpreter&, const Arguments& arguments) {
  const Parameters p("raise_exception", arguments, {"message"}, 1);
  fail("TemplateError", to_str(p[0]));
}

Value strftime_now(Interpreter& interpreter, const Arguments& arguments) {
  const Parameters p("strftime_now", arguments, {"format"}, 1);
  const std::string& format = p.text_of(0);
  std::string out;
  // strftime() says "too small" and "empty" alike; a mark tells them apart.
  const std::string marked = format + "x";
  for (size_t size = 256; size < (1u << 20); size *= 4) {
    out.resize(size);
    if (const size_t n = std::strftime(out.data(), size, marked.c_str(), &interpreter.now())) {
      out.resize(n - 1);
      return Value::string(std::move(out));
    }
  }
  fail("ValueError", "the format of strftime_now() is too long");
}

Value lipsum(Interpreter&, const Arguments&) {
  fail("NotImplementedError", "lipsum() makes random text, which is not supported");
}

}  // namespace

const Value* find_global(std::string_view name) {
  static const std::unordered_map<std::string_view, Value> kGlobals = [] {
    std::unordered_map<std::string_view, Value> globals;
    const auto add = [&globals](const char* key, const char* shown, Native::Function function) {
      globals.emplace(key, Native::make(shown, function));
    };
    add("range", "<function range>", make_range);
    add("dict", "<class 'dict'>", make_dict);
    add("namespace", "<class 'jinja2.utils.Namespace'>", make_namespace);
    add("cycler", "<class 'jinja2.utils.Cycler'>", make_cycler);
    add("joiner", "<class 'jinja2.utils.Joiner'>", make_joiner);
    add("lipsum", "<function lipsum>", lipsum);
    add("raise_exception", "<function raise_exception>", raise_exception);
    add("strftime_now", "<function strftime_now>", strftime_now);
    return globals;
  }();
  const auto found = kGlobals.find(name);
  return found == kGlobals.end() ? nullptr : &found->second;
}

Loop::Loop(Value sequence, const Stmt* recursive, FramePtr scope, Int depth)
    : Instance(sizeof(Loop), sequence.nesting() + 1),
      sequence_(std::move(sequence)),
      cursor_(sequence_),
      recursive_(recursive),
      scope_(recursive != nullptr ? std::move(scope) : nullptr),
      depth_(depth) {}

bool Loop::peek() {
  if (!after_.is(Kind::kMissing)) return true;
  return is_open_ && (is_open_ = cursor_.next(after_));
}

bool Loop::next(Value& item) {
  if (!peek()) return false;
  ++index_;
  before_ = std::move(current_);
  current_ = std::move(after_);
  after_ = Value();
  item = current_;
  return true;
}

Int Loop::total() {
  if (length_ >= 0) return length_;
  if (jinja::length(sequence_, length_)) return length_;
  // What is left is taken out of the iterator, and gone through from there.
  std::vector<Value> rest;
  for (Value item; is_open_ && (is_open_ = cursor_.next(item));) rest.push_back(std::move(item));
  length_ = static_cast<Int>(rest.size()) + index_ + 1 + (after_.is(Kind::kMissing) ? 0 : 1);
  cursor_ = Cursor(Value::list(std::move(rest)));
  is_open_ = true;
  return length_;
}

bool Loop::length(Int& out) {
  out = total();
  return true;
}

std::string Loop::describe() const {
  return fmt::format("<LoopContext {}/{}>", int_to_string(index_ + 1),
                     int_to_string(const_cast<Loop*>(this)->total()));
}

bool Loop::attribute(const Value& self, std::string_view name, Value& out) {
  if (name == "index") {
    out = Value::integer(index_ + 1);
  } else if (name == "index0") {
    out = Value::integer(index_);
  } else if (name == "first") {
    out = Value::boolean(index_ == 0);
  } else if (name == "last") {
    out = Value::boolean(!peek());
  } else if (name == "length") {
    out = Value::integer(total());
  } else if (name == "revindex") {
    out = Value::integer(total() - index_);
  } else if (name == "revindex0") {
    out = Value::integer(total() - index_ - 1);
  } else if (name == "previtem") {
    out = index_ == 0 ? undefined_hint("there is no previous item") : before_;
  } else if (name == "nextitem") {
    out = peek() ? after_ : undefined_hint("there is no next item");
  } else if (name == "depth") {
    out = Value::integer(depth_ + 1);
  } else if (name == "depth0") {
    out = Value::integer(depth_);
  } else if (name == "cycle") {
    out = BoundMethod::make(self, kCycle);
  } else if (name == "changed") {
    out = BoundMethod::make(self, kChanged);
  } else {
    return false;
  }
  return true;
}

Value Loop::call(Interpreter& interpreter, const Arguments& arguments) {
  const Parameters p("loop", arguments, {"iterable"}, 1);
  if (recursive_ == nullptr) {
    fail("TypeError", "The loop must have the 'recursive' marker to be called recursively.");
  }
  return interpreter.run_loop_again(*recursive_, scope_, p[0], depth_ + 1);
}

Value Loop::cycle(const Arguments& arguments) const {
  if (!arguments.named.empty()) fail("TypeError", "cycle() takes no keyword arguments");
  if (arguments.positional.empty()) fail("TypeError", "no items for cycling given");
  return arguments.positional[static_cast<size_t>(index_) % arguments.positional.size()];
}

Value Loop::changed(const Arguments& arguments) {
  if (!arguments.named.empty()) fail("TypeError", "changed() takes no keyword arguments");
  Value now = Value::tuple(arguments.positional);
  if (!last_.is(Kind::kMissing) && equals(last_, now)) return Value::boolean(false);
  last_ = std::move(now);
  return Value::boolean(true);
}

}  // namespace lockstep::jinja
