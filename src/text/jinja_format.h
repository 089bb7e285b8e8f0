// Text from values by a pattern: the % operator, str.format(), and numbers in both.
#pragma once

#include <string>
#include <string_view>

#include "text/jinja_call.h"

namespace lockstep::jinja {

/// `format % values`, of a str or Markup.
Value format_percent(const Value& format, const Value& values);
/// `format.format(...)`; items and attributes of fields are looked up as in a template.
Value format_braces(const Value& format, const Arguments& arguments);
/// format(value, spec) of Python.
std::string format_value(const Value& value, std::string_view spec);

/// Of %-formats and format() alike: how a number is written.
struct NumberStyle {
  char type = 'd';  ///< d b o x X e E f F g G n or %; of a float also 'r', the shortest digits, and
                    ///< 's', g with a point
  int precision = -1;  ///< -1: what the type has by default
  bool alternate = false;
  char sign = '-';  ///< '-', '+' or ' '
};
/// Sign, prefix and digits of a number, apart for padding between them.
struct NumberText {
  std::string sign, prefix, digits;
};
NumberText format_int(Int value, const NumberStyle& style);
NumberText format_float(double value, const NumberStyle& style);

}  // namespace lockstep::jinja
