// Numbers within bounds, digit by digit.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "serve/automaton.h"

namespace lockstep::serve {

/// A decimal as it is written out: the digits before the point without leading zeros, those after
/// it without zeros at their end.
struct Decimal {
  bool is_negative = false;
  std::string whole, fraction;

  /// Of a JSON number: integers exactly, others by their shortest decimal.
  explicit Decimal(const nlohmann::ordered_json& number);
};

struct NumberBounds {
  struct Bound {
    Decimal value;
    bool is_exclusive = false;
  };
  bool integer = false;
  std::optional<Bound> least, most;
  uint64_t multiple_of = 1;  // above 1: whole numbers alone

  /// From the keywords minimum, maximum, exclusiveMinimum, exclusiveMaximum and multipleOf.
  /// Throws SchemaRefused naming the keyword whose value cannot be had.
  static NumberBounds of(const nlohmann::ordered_json& schema, bool integer);
  /// Only what is within these too.
  void narrow(int64_t min, int64_t max);
};

/// Whether `schema` has any of the keywords.
bool has_number_bounds(const nlohmann::ordered_json& schema);

/// Numbers of at most 15 digits without an exponent that are within the bounds, exactly. Throws
/// SchemaRefused where there is none, or multipleOf asks for too many states.
Automaton number_automaton(const NumberBounds& bounds, CompileBudget& budget);

}  // namespace lockstep::serve
