// From judged taps to a verdict: what was covered, what was not, and what follows.
#pragma once

#include "parity/diff.h"

namespace lockstep::parity {

/// Fills `covered`, `not_covered`, `outcome` and the findings that follow from them. A pass needs
/// no refusal, no divergence, and in every dtype that the port recorded one prefill whose
/// embedding, every layer, final norm and logits were judged.
void decide(const Recording& reference, const Recording& port, const DiffOptions& options,
            DiffReport& report);

}  // namespace lockstep::parity
