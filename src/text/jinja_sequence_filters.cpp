// Filters of a sequence as a whole.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <unordered_map>

#include "text/jinja_filters.h"
#include "text/jinja_ops.h"

namespace lockstep::jinja {
namespace {

Value length_of(Interpreter&, const Value& value, const Arguments& arguments) {
  const Parameters p("len", arguments, {}, 0);
  Int n = 0;
  if (!length(value, n)) {
    fail("TypeError", fmt::format("object of type '{}' has no len()", type_name(value)));
  }
  return Value::integer(n);
}

Value list(Interpreter&, const Value& value, const Arguments& arguments) {
  const Parameters p("list", arguments, {}, 0);
  return Value::list(collect(value));
}

Value first(Interpreter&, const Value& value, const Arguments& arguments) {
  const Parameters p("first", arguments, {}, 0);
  Value out;
  if (Cursor cursor(value); cursor.next(out)) return out;
  return undefined_hint("No first item, sequence was empty.");
}

Value last(Interpreter&, const Value& value, const Arguments& arguments) {
  const Parameters p("last", arguments, {}, 0);
  Value backwards, out;
  if (!reversed(value, backwards)) {
    fail("TypeError", fmt::format("'{}' object is not reversible", type_name(value)));
  }
  if (Cursor cursor(backwards); cursor.next(out)) return out;
  return undefined_hint("No last item, sequence was empty.");
}

Value reverse(Interpreter&, const Value& value, const Arguments& arguments) {
  const Parameters p("reverse", arguments, {}, 0);
  if (value.is(Kind::kStr)) {
    return get_slice(value, Value::none(), Value::none(), Value::integer(-1));
  }
  Value out;
  if (reversed(value, out)) return out;
  if (!is_iterable(value)) fail("FilterArgumentError", "argument must be iterable");
  std::vector<Value> items = collect(value);
  std::reverse(items.begin(), items.end());
  return Value::list(std::move(items));
}

Value join(Interpreter&, const Value& value, const Arguments& arguments) {
  const Parameters p("join", arguments, {"d", "attribute"}, 0);
  const std::string separator = p.has(0) ? to_str(p[0]) : "";
  std::string out;
  bool is_first = true;
  Cursor cursor(value);
  for (Value item; cursor.next(item);) {
    if (!is_first) grow(out, separator);
    is_first = false;
    grow(out, to_str(p.is_none(1) ? item : lookup_path(item, p[1])));
  }
  return Value::string(std::move(out));
}

/// Values with the keys they are sorted by.
using Keyed = std::pair<Value, Value>;

/// As sorted(): stable, and also so when reversed.
std::vector<Value> sorted(std::vector<Keyed> items, bool reverse) {
  if (reverse) std::reverse(items.begin(), items.end());
  std::stable_sort(items.begin(), items.end(), [](const Keyed& a, const Keyed& b) {
    return compare(a.first, b.first, Order::kLess);
  });
  if (reverse) std::reverse(items.begin(), items.end());
  std::vector<Value> out;
  out.reserve(items.size());
  for (Keyed& item : items) out.push_back(std::move(item.second));
  return out;
}

/// The key of `sort`: a list, of one entry for each of the attributes between commas.
Value sort_key(const Value& item, const Value& attribute, bool case_sensitive) {
  std::vector<Value> paths;
  if (attribute.is(Kind::kStr)) {
    std::string_view rest = attribute.text();
    for (size_t comma = 0; comma != rest.npos; rest.remove_prefix(comma + 1)) {
      comma = rest.find(',');
      paths.push_back(Value::string(std::string(rest.substr(0, comma))));
      if (comma == rest.npos) break;
    }
  } else {
    paths.push_back(attribute);
  }
  std::vector<Value> key;
  for (const Value& path : paths) {
    Value part = lookup_path(item, path);
    key.push_back(case_sensitive ? std::move(part) : ignore_case(part));
  }
  return Value::list(std::move(key));
}

Value sort(Interpreter&, const Value& value, const Arguments& arguments) {
  const Parameters p("sort", arguments, {"reverse", "case_sensitive", "attribute"}, 0);
  const bool case_sensitive = p.truth_of(1, false);
  std::vector<Keyed> items;
  for (Value& item : collect(value)) {
    Value key = sort_key(item, p[2], case_sensitive);
    items.emplace_back(std::move(key), std::move(item));
  }
  return Value::list(sorted(std::move(items), p.truth_of(0, false)));
}

Value dictsort(Interpreter&, const Value& value, const Arguments& arguments) {
  const Parameters p("dictsort", arguments, {"case_sensitive", "by", "reverse"}, 0);
  const std::string by = p.has(1) ? to_str(p[1]) : "key";
  if (by != "key" && by != "value") {
    fail("FilterArgumentError", "You can only sort by either \"key\" or \"value\"");
  }
  if (value.is(Kind::kUndefined)) fail_undefined(value);
  if (!value.is(Kind::kDict)) {
    fail("AttributeError", fmt::format("'{}' object has no attribute 'items'", type_name(value)));
  }
  std::vector<Keyed> items;
  for (const auto& [key, entry] : value.dict().items()) {
    const Value& sort_by = by == "key" ? key : entry;
    items.emplace_back(p.truth_of(0, false) ? sort_by : ignore_case(sort_by),
                       Value::tuple({key, entry}));
  }
  return Value::list(sorted(std::move(items), p.truth_of(2, false)));
}

/// min and max: the first of several that are equal.
Value extreme(const Value& value, const Arguments& arguments, Order order) {
  const Parameters p("min", arguments, {"case_sensitive", "attribute"}, 0);
  const auto key_of = [&p](const Value& item) {
    Value key = lookup_path(item, p[1]);
    return p.truth_of(0, false) ? key : ignore_case(key);
  };
  Cursor cursor(value);
  Value best;
  if (!cursor.next(best)) return undefined_hint("No aggregated item, sequence was empty.");
  Value best_key = key_of(best);
  for (Value item; cursor.next(item);) {
    Value key = key_of(item);
    if (!compare(key, best_key, order)) continue;
    best = std::move(item);
    best_key = std::move(key);
  }
  return best;
}

/// A running sum of floats with what rounding lost, as CPython 3.14's sum() has it.
struct FloatSum {
  double high = 0, low = 0;
  void add(double x) {
    const double total = high + x;
    low += std::fabs(high) >= std::fabs(x) ? (high - total) + x : (x - total) + high;
    high = total;
  }
  double value() const { return low != 0 && std::isfinite(low) ? high + low : high; }
};

Value sum(Interpreter&, const Value& value, const Arguments& arguments) {
  const Parameters p("sum", arguments, {"attribute", "start"}, 0);
  Value total = p.has(1) ? p[1] : Value::integer(0);
  if (total.is(Kind::kStr)) fail("TypeError", "sum() can't sum strings [use ''.join(seq) instead]");
  FloatSum floats;
  bool is_float = total.is(Kind::kFloat);
  if (is_float) floats.high = total.as_double();
  Cursor cursor(value);
  for (Value item; cursor.next(item);) {
    if (!p.is_none(0)) item = lookup_path(item, p[0]);
    if (total.is(Kind::kInt) && item.is(Kind::kFloat)) {
      // The first float after integers is added as any two numbers are.
      total = binary(Operator::kAdd, total, item);
      floats = {total.as_double(), 0};
      is_float = true;
    } else if (is_float && item.is_number()) {
      floats.add(item.as_double());
    } else {
      if (is_float) total = Value::real(floats.value());
      is_float = false;
      total = binary(Operator::kAdd, total, item);
    }
  }
  return is_float ? Value::real(floats.value()) : total;
}

/// An iterator over what `make` returns, which is not called before the first item is wanted.
template <typename Make>
Value deferred(const Value& value, int extra_nesting, Make make) {
  struct State {
    bool is_made = false;
    std::vector<Value> items;
    size_t next = 0;
  };
  auto state = std::make_shared<State>();
  return Iterator::make("generator", value.nesting() + extra_nesting,
                        [state, make = std::move(make)](Value& out) {
                          if (!state->is_made) {
                            state->is_made = true;
                            state->items = make();
                          }
                          if (state->next == state->items.size()) return false;
                          out = state->items[state->next++];
                          return true;
                        });
}

Value items(Interpreter&, const Value& value, const Arguments& arguments) {
  const Parameters p("items", arguments, {}, 0);
  return deferred(value, 2, [value] {
    if (value.is(Kind::kUndefined)) return std::vector<Value>();
    if (!value.is(Kind::kDict)) fail("TypeError", "Can only get item pairs from a mapping.");
    std::vector<Value> out;
    for (const auto& [key, entry] : value.dict().items()) out.push_back(Value::tuple({key, entry}));
    return out;
  });
}

Value batch(Interpreter&, const Value& value, const Arguments& arguments) {
  const Parameters p("batch", arguments, {"linecount", "fill_with"}, 1);
  const Int n = p.int_of(0, 1);
  const Value fill = p.is_none(1) ? Value() : p[1];
  return deferred(value, 2 + fill.nesting(), [value, n, fill] {
    std::vector<Value> out, line;
    const auto flush = [&] {
      out.push_back(Value::list(std::move(line)));
      line.clear();
    };
    for (Value& item : collect(value)) {
      if (static_cast<Int>(line.size()) == n) flush();
      line.push_back(std::move(item));
    }
    if (!line.empty()) {
      const Int missing = n - static_cast<Int>(line.size());
      if (!fill.is(Kind::kMissing) && missing > 0) {
        check_list_size(static_cast<uint64_t>(std::min<Int>(n, UINT32_MAX)));
        line.insert(line.end(), static_cast<size_t>(missing), fill);
      }
      flush();
    }
    return out;
  });
}

Value slice(Interpreter&, const Value& value, const Arguments& arguments) {
  const Parameters p("slice", arguments, {"slices", "fill_with"}, 1);
  const Int n = p.int_of(0, 1);
  const Value fill = p.is_none(1) ? Value() : p[1];
  return deferred(value, 2 + fill.nesting(), [value, n, fill] {
    const std::vector<Value> all = collect(value);
    if (n == 0) fail("ZeroDivisionError", "integer division or modulo by zero");
    std::vector<Value> out;
    if (n < 0) return out;
    check_list_size(static_cast<uint64_t>(std::min<Int>(n, UINT32_MAX)));
    const auto n_slices = static_cast<size_t>(n);
    const size_t n_each = all.size() / n_slices, n_longer = all.size() % n_slices;
    size_t start = 0;
    for (size_t i = 0; i < n_slices; ++i) {
      const size_t end = start + n_each + (i < n_longer ? 1 : 0);
      std::vector<Value> part(all.begin() + static_cast<ptrdiff_t>(start),
                              all.begin() + static_cast<ptrdiff_t>(end));
      if (!fill.is(Kind::kMissing) && i >= n_longer) part.push_back(fill);
      out.push_back(Value::list(std::move(part)));
      start = end;
    }
    return out;
  });
}

Value unique(Interpreter&, const Value& value, const Arguments& arguments) {
  const Parameters p("unique", arguments, {"case_sensitive", "attribute"}, 0);
  struct State {
    Value source;
    Value attribute;
    bool case_sensitive;
    std::unique_ptr<Cursor> cursor;
    std::unordered_multimap<uint64_t, Value> seen;
  };
  auto state = std::make_shared<State>();
  state->source = value;
  state->attribute = p[1];
  state->case_sensitive = p.truth_of(0, false);
  return Iterator::make("generator", value.nesting() + 1, [state](Value& out) {
    if (state->cursor == nullptr) state->cursor = std::make_unique<Cursor>(state->source);
    while (state->cursor->next(out)) {
      Value key = lookup_path(out, state->attribute);
      if (!state->case_sensitive) key = ignore_case(key);
      const uint64_t hash = hash_value(key);
      const auto [begin, end] = state->seen.equal_range(hash);
      const bool is_known =
          std::any_of(begin, end, [&key](const auto& entry) { return equals(entry.second, key); });
      if (is_known) continue;
      state->seen.emplace(hash, std::move(key));
      return true;
    }
    return false;
  });
}

Value group(const Value& key, std::vector<Value> items) {
  auto pair = std::make_shared<List>(std::vector<Value>{key, Value::list(std::move(items))});
  pair->is_group = true;
  return Value::object(Kind::kTuple, std::move(pair));
}

Value groupby(Interpreter&, const Value& value, const Arguments& arguments) {
  const Parameters p("groupby", arguments, {"attribute", "default", "case_sensitive"}, 1);
  const bool case_sensitive = p.truth_of(2, false);
  const auto real_key = [&p](const Value& item) { return lookup_path(item, p[0], p[1]); };
  const auto key_of = [&](const Value& item) {
    return case_sensitive ? real_key(item) : ignore_case(real_key(item));
  };
  std::vector<Keyed> keyed;
  for (const Value& item : collect(value)) keyed.emplace_back(key_of(item), item);
  const std::vector<Value> all = sorted(std::move(keyed), false);
  std::vector<Value> out;
  for (size_t begin = 0, end = 0; begin < all.size(); begin = end) {
    const Value key = key_of(all[begin]);
    while (end < all.size() && equals(key_of(all[end]), key)) ++end;
    end = std::max(end, begin + 1);
    out.push_back(group(real_key(all[begin]), {all.begin() + static_cast<ptrdiff_t>(begin),
                                               all.begin() + static_cast<ptrdiff_t>(end)}));
  }
  return Value::list(std::move(out));
}

Value random(Interpreter&, const Value&, const Arguments&) {
  fail("NotImplementedError", "the filter 'random' is not supported: a prompt is to be repeatable");
}

constexpr auto kFilters = std::to_array<Filter>({
    {"batch", batch},
    {"count", length_of},
    {"dictsort", dictsort},
    {"first", first},
    {"groupby", groupby},
    {"items", items},
    {"join", join},
    {"last", last},
    {"length", length_of},
    {"list", list},
    {"max", [](Interpreter&, const Value& v,
               const Arguments& a) { return extreme(v, a, Order::kGreater); }},
    {"min",
     [](Interpreter&, const Value& v, const Arguments& a) { return extreme(v, a, Order::kLess); }},
    {"random", random},
    {"reverse", reverse},
    {"slice", slice},
    {"sort", sort},
    {"sum", sum},
    {"unique", unique},
});

}  // namespace

std::span<const Filter> sequence_filters() noexcept { return kFilters; }

}  // namespace lockstep::jinja
