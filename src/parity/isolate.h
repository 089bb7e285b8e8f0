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
  std::string run;
  std::string path;  // with ":input" behind it: what goes into that module, and comes out of none
  std::string module_class;
  std::string ops;         // what was replayed: "linear", "rope", "add, rms_norm"
  double isolated = 0;     // relative L2 on the reference's inputs; of ids, the share of rows
  double accumulated = 0;  // the same in the whole run
  double bar = 0;          // of both
  Verdict verdict = Verdict::kClean;
};

struct IsolateReport {
  std::vector<IsolatedTap> taps;          // in order of execution, run after run
  std::vector<std::string> not_replayed;  // "run path: why"
  bool sound() const;
};

/// Above it a replayed value is a source: three times its floor, ten in float32, where another
/// order of accumulation makes several roundings of one. The floor is how far the value moves when
/// all that it is computed from is rounded once more (`response`), and one rounding more an op,
/// which a reference that rounds more often than the port may make. Both are of the value itself,
/// so neither depth nor a rerouted token before it widens the bar.
double isolation_bar(const std::string& dtype, int64_t n_ops, double response);

/// Replays the runs of `reference` in the pipeline's dtype, prefill and decode steps. Caches and
/// states of a decode step come from the recording; one that the reference keeps in another form is
/// made from its runs before, and what they lack is listed. Ids are compared as sets; in low
/// precision, where equal scores may be broken either way, up to a quarter of the rows may differ,
/// or the one row of a step. `port` is a recording of the port's own runs, which are run where it
/// is not given. Throws kInvalidArgument when no run is of that dtype.
IsolateReport isolate(Pipeline& pipeline, const Recording& reference,
                      const Recording* port = nullptr);

}  // namespace lockstep::parity
