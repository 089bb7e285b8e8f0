// The tables of filters, each part in a file of its own.
#pragma once

#include <span>
#include <string_view>

#include "text/jinja_eval.h"

namespace lockstep::jinja {

struct Filter {
  const char* name;
  Value (*function)(Interpreter&, const Value& value, const Arguments& arguments);
};

std::span<const Filter> text_filters() noexcept;      // of one string
std::span<const Filter> number_filters() noexcept;    // of one number, and conversions
std::span<const Filter> sequence_filters() noexcept;  // of a sequence as a whole
std::span<const Filter> select_filters() noexcept;    // of each item of a sequence

/// nullptr where there is none.
const Filter* find_filter(std::string_view name) noexcept;

/// item.a.b, item.0.c: what `attribute=` of a filter means. None is the item itself. `otherwise`,
/// unless None or missing, stands for each part that is undefined.
Value lookup_path(const Value& item, const Value& path, const Value& otherwise = Value());
/// As a key of a case-insensitive comparison: strings in lower case.
Value ignore_case(const Value& value);

}  // namespace lockstep::jinja
