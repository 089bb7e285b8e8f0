// One tap's distance against its floor and bands.
#pragma once

#include "parity/diff.h"

namespace lockstep::parity {

/// How many times the whole tensor's band a single token's is.
double token_band(const TapDiff& tap);
/// Sets the judgement, the ratio and the note from `g`, `floor`, `bands` and `metrics`: the whole
/// tensor, and the parts in which a fault could hide. There must be a floor.
void judge_parts(TapDiff& tap);

}  // namespace lockstep::parity
