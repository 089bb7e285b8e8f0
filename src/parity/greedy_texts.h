// The texts that both sides generated, where both recorded theirs.
#pragma once

#include "parity/diff.h"
#include "parity/recording.h"

namespace lockstep::parity {

/// Compares greedy texts of the same prompt and dtype up to the first token that differs, and
/// weighs that one against the reference's own margin there: a tie within the noise is told and is
/// no fault ("text_tie"); anything else is a divergence ("text"), with what it looks like
/// ("symptom"), likeliest cause first.
void check_texts(const Recording& reference, const Recording& port, DiffReport& report);

}  // namespace lockstep::parity
