// What the first difference looks like: patterns of porting faults that recordings alone show, each
// with the figure that supports it. Candidates, not causes: nothing is confirmed here.
#pragma once

#include "parity/diff.h"

namespace lockstep::parity {

/// Adds to a report that diverged, for the first run of each dtype that did (prefill before decode
/// steps), what fits its first diverged tap: findings of level kInfo and code "candidate", most
/// telling first, and "spike" where one side has a massive value that the other lacks.
void add_signatures(DiffReport& report);

}  // namespace lockstep::parity
