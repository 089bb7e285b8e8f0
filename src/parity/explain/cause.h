// The catalogue: one entry a kind of fault, each a counterfactual that must come out right on the
// numbers before it is named.
//
// To add one: a function `std::vector<Finding> f(const Site&)` in src/parity/explain/causes/, and a
// line in that file's list, which catalogue() gathers. A finding is a claim with its evidence; the
// judge decides (judge_site.h). Return nothing rather than a guess: a finding that does not fit is
// worth reporting only as a rival that came close.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "parity/explain/site.h"

namespace lockstep::parity {

/// A number of the fault, as the port has it and as the reference has it (text where it is none).
struct Measured {
  std::string name;  // "theta", "eps", "window", "heads"
  std::string port, reference;
};

struct Finding {
  /// "rotary base 10000, the reference turns by 500000": one sentence, with numbers.
  std::string what;
  /// "give rope_parameters.rope_theta to the rotary embedding": what to change in the port.
  std::string change;
  std::vector<Measured> measured;
  /// Distance (parity/explain/array.h) of the wrong formula's outcome from site.port; 0 for a
  /// repair, whose wrong formula is the port itself.
  double port_error = 0;
  /// Distance of the right formula's, or of the repaired chain's, from site.reference.
  double reference_error = 0;
  /// Numbers that were fitted to the data and are not among those of the config, the checkpoint or
  /// mathematics: a table of ratios is a description, not yet a cause.
  int n_fitted = 0;
};

struct Cause {
  std::string_view id;    // "rope_base"; several entries may share one: their findings are merged
  int row;                // of the catalogue in docs/parity.md; 0: none of its rows
  std::string_view name;  // "rotary base"
  /// Causes of one class cannot be told apart by these numbers; the class says between what. Empty:
  /// it stands alone.
  std::string_view ambiguity;
  /// Ops it is about, separated by spaces; it is asked at sites whose chain has one of them ("*":
  /// at every site).
  std::string_view ops;
  /// What to record to decide where it cannot: "q_rot k_rot", "scores"; may be empty.
  std::string_view taps;
  std::vector<Finding> (*evaluate)(const Site& site);
};

/// Every entry.
const std::vector<Cause>& catalogue();

}  // namespace lockstep::parity
