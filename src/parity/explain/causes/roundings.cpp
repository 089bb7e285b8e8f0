// Causes that are a rounding: one side holds in a narrow type what the other does not.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "parity/explain/causes/causes.h"
#include "parity/explain/causes/formula.h"
#include "parity/measure/rounding.h"

namespace lockstep::parity {
namespace {

// Of a float32 value whose parts do not cancel; a wide bar must not make everything a tie.
constexpr double kNoise = 2e-6;

// `exact` as `type` rounds it; where it lies so near to a tie that its own noise decides, as
// `rounded_side` has it.
Array as_rounded(const Array& exact, const Array& rounded_side, DType type, double bar) {
  Array made = exact;
  double squares = 0;
  for (const double x : exact.values) squares += x * x;
  const double usual =
      std::sqrt(squares / static_cast<double>(std::max<size_t>(1, exact.values.size())));
  const double noise = 16 * std::min(bar, kNoise) * usual;
  for (size_t i = 0; i < made.values.size(); ++i) {
    const double x = exact.values[i], to = measure::rounded(x, type);
    const double there = rounded_side.values[i];
    const bool is_tie =
        there == measure::rounded(x - noise, type) || there == measure::rounded(x + noise, type);
    made.values[i] = is_tie ? there : to;
  }
  return made;
}

// All numbers of a type, and not all zero.
bool holds_only(const Array& a, DType type) {
  bool has_value = false;
  for (const double x : a.values) {
    if (measure::rounded(x, type) != x) return false;
    has_value |= x != 0;
  }
  return has_value;
}

std::vector<Finding> outcome(const Site& site) {
  if (site.dtype != "float32" || site.is_ids) return {};
  for (const DType type : {DType::kBFloat16, DType::kFloat16}) {
    const bool port = holds_only(site.port, type), reference = holds_only(site.reference, type);
    if (port == reference) continue;
    const std::string name(dtype_name(type));
    const Array& exact = port ? site.reference : site.port;
    const Array& narrow = port ? site.port : site.reference;
    const Array made = as_rounded(exact, narrow, type, site.bar);
    return {with_errors(site,
                        {fmt::format("{} holds this value in {}, {} in float32",
                                     port ? "the port" : "the reference", name,
                                     port ? "the reference" : "the port"),
                         port ? "keep it in float32" : "round it there as the reference does",
                         {{"type", port ? name : "float32", port ? "float32" : name}}},
                        port ? made : site.port, port ? site.reference : made)};
  }
  return {};
}

}  // namespace

std::vector<Cause> rounding_causes() {
  return {{"early_rounding", 74, "type that a value is held in", "", "*", "", outcome}};
}

}  // namespace lockstep::parity
