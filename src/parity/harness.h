// Faults of the recordings themselves. Each gets its own refusal, so that a broken harness is
// neither passed nor blamed on an operator.
#pragma once

#include <string>
#include <vector>

#include "parity/diff.h"
#include "parity/floor.h"

namespace lockstep::parity {

/// Adds a refusal to `report`, with a default way out for the code.
void refuse(DiffReport& report, std::string code, const std::string& run, const std::string& tap,
            std::string message);

/// Of one recording alone, from its headers: nothing in it, prompts of one token, unknown ids.
void check_recording(const Recording& recording, const char* side, DiffReport& report);

/// Of one pair of runs after comparing: non-finite values, equal content across layers, wrong
/// precision, rows that are all alike.
void check_run(const RunDiff& run, DiffReport& report);
/// Layer outputs that do not change between prompts.
void check_across_runs(DiffReport& report);

/// What looks like a divergence and is not: layers shifted by one, a last layer recorded after the
/// final norm, a value tapped at another point. Only looks where a tap diverged.
void check_false_cliffs(RunDiff& run, ThreadPool& pool, DiffReport& report);

/// Taps that differ while everything computed from them is clean; part of check_false_cliffs().
void check_tap_point(RunDiff& run, ThreadPool& pool, DiffReport& report);

bool is_clean(const TapDiff& tap);
/// Whether a value of the port is the reference's value of another tap, to within the bands of
/// `own`, and much closer than its own counterpart.
bool same_value(const TapDiff& own, const View& reference, const View& port, ThreadPool& pool);

/// A reference whose weights were not loaded, or loaded from elsewhere: it finds its own prompt as
/// unlikely as chance does, and the port does not.
void check_reference(const RunDiff& run, DiffReport& report);

/// A reference whose decode step did not see the whole context: masks and probabilities that are
/// too narrow, other logits than its own prefill or greedy text. A decode step that diverges after
/// a clean prefill is refused when nothing in the recording says that the reference is sound.
void check_decode(const RunDiff& run, const Recording& reference, ThreadPool& pool,
                  DiffReport& report);

}  // namespace lockstep::parity
