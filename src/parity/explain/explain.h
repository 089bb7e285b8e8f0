// Where a port is wrong, why, and what is wrong behind it: sites from isolated replay, a cause for
// each, and what becomes of the logits when all of them are put right.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "parity/explain/judge_site.h"
#include "parity/isolate.h"

namespace lockstep::parity {

/// One fault: the same cause (or the same unknown) at all its sites.
/// One fault: the same cause, or the same unknown, at all its sites.
struct Fault {
  std::string path;                // of the first site, in order of execution
  std::string module_class, ops;   // of it
  std::string run;                 // the one it was judged in
  std::string kind;                // its place inside a layer and its ops: what sites of one share
  double isolated = 0, bar = 0;    // there
  std::vector<std::string> paths;  // of all sites, each once
  std::vector<int> layers;         // ascending; empty outside layers
  size_t n_runs = 0;               // that show it
  SiteJudgement judgement;
  std::string source;  // "file:line" of the call in the port; empty where no source was found
  /// Relative L2 of the logits of the run `logits_run` with the faults before it put right, and
  /// with this one too; NaN where it does not show there.
  double logits_before = 0, logits_after = 0;
};

struct ExplainReport {
  std::vector<Fault> faults;  // in order of execution
  std::string logits_run;     // empty where no run has logits
  /// With every fault put right, against a bar; above it something is missing that no recorded
  /// value shows.
  double logits_left = 0, logits_bar = 0;
  size_t n_values = 0;                   // judged by isolate
  std::vector<std::string> not_covered;  // what could not be replayed or judged

  bool is_complete() const { return logits_run.empty() || logits_left <= logits_bar; }
};

struct ExplainOptions {
  /// Folders with the port's sources, the port's own first, for file:line.
  std::vector<std::filesystem::path> source_folders;
};

/// A port in one dtype, and what isolate() says of it.
struct IsolatedPort {
  Pipeline* pipeline = nullptr;
  IsolateReport report;
};

/// `ports` are one port in several dtypes. A fault that float32 shows is judged there alone.
ExplainReport explain(const std::vector<IsolatedPort>& ports, const Recording& reference,
                      const ExplainOptions& options = {});
/// Isolates them first. Throws as isolate().
ExplainReport explain(const std::vector<Pipeline*>& pipelines, const Recording& reference,
                      const ExplainOptions& options = {});

}  // namespace lockstep::parity
