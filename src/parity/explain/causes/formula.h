// What causes that are formulas share: inputs of the last op as arrays, and findings whose errors
// are worked out from a wrong and a right outcome.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "parity/explain/cause.h"

namespace lockstep::parity {

/// The step that makes the site's value, if it is of this op (casts behind it aside); null
/// otherwise. What goes into it may be the port's own: a formula that then gives the reference says
/// that the steps before are right.
const SiteStep* last_step(const Site& site, std::string_view op);

/// What an operand held; an empty array where there is none.
Array operand_or_empty(const Site& site, const SiteStep& step, std::string_view role);

/// A number as reports show it: "10000", "1e-05", "0.0883883".
std::string number_text(double value);

/// `finding` with its errors: how far `wrong` is from the port's outcome and `right` from the
/// reference's.
Finding with_errors(const Site& site, Finding finding, const Array& wrong, const Array& right);

/// Words for both directions of one difference of form.
struct Words {
  std::string what, change;
  std::vector<Measured> measured;
  int n_fitted = 0;
};
/// Two outcomes of the same inputs: as the port is known or thought to compute, and in another
/// form. Where the other form is the reference's, `reference_has` is said; where it is the port's,
/// `port_has`. The direction that fits better.
Finding either_way(const Site& site, const Array& base, const Array& other,
                   const Words& reference_has, const Words& port_has);

/// The finding that fits best of several of one cause; empty stays empty.
std::vector<Finding> best_finding(std::vector<Finding> findings);

/// The key of config.json whose number is `value` to within `tolerance` of it; of several the
/// shortest; empty if there is none.
std::string config_key_of(const Site& site, double value, double tolerance);

/// How far a number may be from a nominal one and still be that, of a site's bar: measurements of
/// the whole tensor are better than it.
double number_tolerance(const Site& site);

}  // namespace lockstep::parity
