// Isolated replay: every value the reference recorded, computed by the port from what the reference
// recorded just before it. A value whose inputs are the reference's and whose outcome is not is a
// source; one that is wrong only in the whole run carries what came in.
//
// The graph is cut at the recorded values, so an operator between two of them is replayed alone
// even where it has no module of its own: the rotation between q_proj and q_rot, a residual sum.
#pragma once

#include <string>
#include <vector>

#include "parity/recording.h"
#include "runtime/pipeline.h"

namespace lockstep::parity {

struct IsolatedTap {
  enum class Verdict : uint8_t { kClean, kSource, kCarrier };
  std::string run, path, module_class;
  std::string ops;         // what was replayed: "linear", "rope", "add, rms_norm"
  double isolated = 0;     // relative L2 on the reference's inputs
  double accumulated = 0;  // relative L2 in the whole run
  double bar = 0;          // of both
  Verdict verdict = Verdict::kClean;
};

struct IsolateReport {
  std::vector<IsolatedTap> taps;          // in order of execution, run after run
  std::vector<std::string> not_replayed;  // "run path: why"
  bool sound() const;
};

/// Above it a replayed value of `n_ops` ops is a source. float32: accumulation order only.
/// bfloat16: one rounding an op, in a reference that may round more often than the port. Where the
/// recording has the same run in float32 as well, the bar is at least 1.5 times the reference's own
/// error: an attention over one token loses several roundings' worth to its scores.
double isolation_bar(const std::string& dtype, int64_t n_ops);

/// Replays the runs of `reference` in the pipeline's dtype, prefill and decode steps. Caches and
/// states of a decode step come from the recording; what it lacks is listed. Throws
/// kInvalidArgument when no run is of that dtype.
IsolateReport isolate(Pipeline& pipeline, const Recording& reference);

}  // namespace lockstep::parity
