// Faults put right one after the other: what each explains of the error of the logits.
#pragma once

#include <functional>
#include <string>

#include "parity/explain/explain.h"
#include "parity/run_replay.h"

namespace lockstep::parity {

/// A run of the reference, prepared, by id.
using ReplayOf = std::function<RunReplay&(const std::string& run)>;

/// Chooses the run of the pipeline's dtype with logits that shows most faults (of several the
/// longest), and runs the port on its tokens with the reference's value in the place of each fault,
/// one more each time: fills logits_run, logits_left, logits_bar and each fault's logits_before and
/// logits_after. Leaves `report` as it is where no run has logits.
void put_right(const Pipeline& pipeline, const Recording& reference, const ReplayOf& replay_of,
               ExplainReport& report);

}  // namespace lockstep::parity
