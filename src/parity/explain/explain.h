// Where a port is wrong, why, and what is wrong behind it: sites from isolated replay, a cause for
// each, and what becomes of the logits when all of them are put right.
#pragma once

#include <string>
#include <vector>

#include "parity/explain/judge_site.h"
#include "parity/isolate.h"

namespace lockstep::parity {

/// One fault: the same cause (or the same unknown) at all its sites.
struct Fault {
  std::string path;                // of the first site, in order of execution
  std::vector<std::string> sites;  // "run path", all of them
  std::vector<int> layers;         // ascending; empty outside layers
  std::string module_class, ops, run;
  double isolated = 0, bar = 0;  // of the site it was judged at
  SiteJudgement judgement;
  std::string source;  // "file:line" of the call in the port; empty where no source is there
  /// Relative L2 of the logits of the judged run with the faults before it put right, and with this
  /// one too; NaN where the run has no logits.
  double logits_before = 0, logits_after = 0;
};

struct ExplainReport {
  std::vector<Fault> faults;  // in order of execution
  /// Whether the logits are within their bar once every fault is put right; else something is
  /// still missing that no recorded value shows.
  bool is_complete = true;
  double logits_bar = 0, logits_left = 0;
  size_t n_values = 0;                   // judged by isolate
  std::vector<std::string> not_covered;  // what could not be replayed or judged
};

struct ExplainOptions {
  /// Folders with the port's sources, for file:line.
  std::vector<std::string> source_folders;
};

/// Throws as isolate() does.
ExplainReport explain(Pipeline& pipeline, const Recording& reference,
                      const ExplainOptions& options = {});

}  // namespace lockstep::parity
