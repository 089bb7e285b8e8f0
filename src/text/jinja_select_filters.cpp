// map, select, reject and their kin, item by item and only as far as somebody asks.
#include <fmt/format.h>

#include <array>
#include <memory>

#include "text/jinja_filters.h"
#include "text/jinja_ops.h"

namespace lockstep::jinja {
namespace {

/// What a lazy filter works with. Nothing is looked at before the first item is asked for.
struct Lazy {
  Value source;
  Arguments arguments;
  std::unique_ptr<Cursor> cursor;
  bool is_done = false;

  /// False at the end. A source without truth, as an empty list, is not even gone through.
  bool next(Value& item) {
    if (is_done) return false;
    if (cursor == nullptr && truth(source)) cursor = std::make_unique<Cursor>(source);
    is_done = cursor == nullptr || !cursor->next(item);
    return !is_done;
  }
};

std::shared_ptr<Lazy> lazy(const Value& value, const Arguments& arguments) {
  return std::make_shared<Lazy>(Lazy{value, arguments, nullptr, false});
}

Arguments without_first(const Arguments& arguments, size_t n) {
  Arguments rest = arguments;
  rest.positional.erase(rest.positional.begin(),
                        rest.positional.begin() + static_cast<ptrdiff_t>(n));
  return rest;
}

int nesting_of(const Value& value, const Arguments& arguments) {
  int deepest = value.nesting();
  for (const Value& argument : arguments.positional) {
    deepest = std::max(deepest, argument.nesting());
  }
  for (const auto& [name, argument] : arguments.named) {
    deepest = std::max(deepest, argument.nesting());
  }
  return deepest + 1;
}

/// map(attribute=...) or map('filter', ...).
Value map(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  auto state = lazy(value, arguments);
  return Iterator::make(
      "generator", nesting_of(value, arguments), [state, &interpreter](Value& out) {
        const Arguments& given = state->arguments;
        Value item;
        if (!state->next(item)) return false;
        if (given.positional.empty() && given.find("attribute") != nullptr) {
          for (const auto& [name, argument] : given.named) {
            if (name != "attribute" && name != "default") {
              fail("FilterArgumentError",
                   fmt::format("Unexpected keyword argument {}", repr_string(name)));
            }
          }
          const Value* otherwise = given.find("default");
          out = lookup_path(item, *given.find("attribute"),
                            otherwise == nullptr ? Value() : *otherwise);
          return true;
        }
        if (given.positional.empty()) {
          fail("FilterArgumentError", "map requires a filter argument");
        }
        const Value& name = given.positional[0];
        if (!name.is(Kind::kStr)) {
          fail("TemplateRuntimeError", fmt::format("No filter named {} found.", repr(name)));
        }
        out = interpreter.call_filter(name.text(), item, without_first(given, 1));
        return true;
      });
}

Value select(Interpreter& interpreter, const Value& value, const Arguments& arguments,
             bool by_attribute, bool keeps) {
  auto state = lazy(value, arguments);
  return Iterator::make(
      "generator", nesting_of(value, arguments),
      [state, &interpreter, by_attribute, keeps](Value& out) {
        const std::vector<Value>& given = state->arguments.positional;
        const size_t n_attribute = by_attribute ? 1 : 0;
        while (state->next(out)) {
          if (by_attribute && given.empty()) {
            fail("FilterArgumentError", "Missing parameter for attribute name");
          }
          const Value subject = by_attribute ? lookup_path(out, given[0]) : out;
          bool holds = false;
          if (given.size() <= n_attribute) {
            holds = truth(subject);
          } else {
            const Value& name = given[n_attribute];
            if (!name.is(Kind::kStr)) {
              fail("TemplateRuntimeError", fmt::format("No test named {} found.", repr(name)));
            }
            holds = interpreter.call_test(name.text(), subject,
                                          without_first(state->arguments, n_attribute + 1));
          }
          if (holds == keeps) return true;
        }
        return false;
      });
}

constexpr auto kFilters = std::to_array<Filter>({
    {"map", map},
    {"select", [](Interpreter& i, const Value& v,
                  const Arguments& a) { return select(i, v, a, false, true); }},
    {"reject", [](Interpreter& i, const Value& v,
                  const Arguments& a) { return select(i, v, a, false, false); }},
    {"selectattr", [](Interpreter& i, const Value& v,
                      const Arguments& a) { return select(i, v, a, true, true); }},
    {"rejectattr", [](Interpreter& i, const Value& v,
                      const Arguments& a) { return select(i, v, a, true, false); }},
});

}  // namespace

std::span<const Filter> select_filters() noexcept { return kFilters; }

}  // namespace lockstep::jinja
