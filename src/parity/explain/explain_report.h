// What explain() found, as text of at most 100 columns, and as JSON.
#pragma once

#include <string>

#include "parity/explain/explain.h"

namespace lockstep::parity {

/// Each fault with its cause, its numbers, what to change, and up to `n_rivals` rivals.
std::string explain_text(const ExplainReport& report, size_t n_rivals);

/// {"verdict","covered","not_covered","findings"}.
std::string explain_json(const ExplainReport& report);

/// 0: nothing is wrong; 1: faults were found; 2: nothing could be judged.
int explain_status(const ExplainReport& report);

}  // namespace lockstep::parity
