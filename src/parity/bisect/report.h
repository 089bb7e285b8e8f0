// A bisection as text of at most 100 columns, and as JSON.
#pragma once

#include <string>

#include "parity/bisect/bisect.h"

namespace lockstep::parity {

/// The table of stages, the first difference with its evidence, what was not covered.
std::string bisect_text(const BisectReport& report);
std::string control_text(const Control& control);
/// {"verdict","first_stage","covered","not_covered","findings","stages"}, with "control" where
/// there is one.
std::string bisect_json(const BisectReport& report, const Control* control,
                        const std::string& repro);

}  // namespace lockstep::parity
