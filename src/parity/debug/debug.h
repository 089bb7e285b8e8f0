// The whole protocol in order, each stage on what the one before left: is the reference sound, do
// the recordings compare, where is the port wrong, why, and what remains when that is put right.
//
//   reference ─> load ─> dump ─> diff ─> isolate ─> explain ─> bisect
//                 │                │        │                     │
//                 gates            harness  nothing wrong on its  only where every value is right
//                                  fault    own: no explain
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/stage_meter.h"
#include "parity/bisect/bisect.h"
#include "parity/diff.h"
#include "parity/dump.h"
#include "parity/explain/explain.h"
#include "parity/isolate.h"
#include "parity/recording.h"
#include "parity/verify.h"

namespace lockstep::parity {

struct DebugStage {
  enum class State : uint8_t { kDone, kSkipped, kStopped };
  std::string name;
  State state = State::kDone;
  std::string result;  // one line: what it did, or why it was left out or stopped
  StageCost cost;
};

/// The port, open in every dtype it is debugged in. What holds the pipelines is the caller's.
struct OpenPort {
  std::vector<Pipeline*> pipelines;
  std::vector<PlannedSequence> sequences;
};

struct DebugOptions {
  DiffOptions diff;
  ExplainOptions explain;
  std::string model;               // as the user named it, for commands to run next
  std::string port_folder;         // of a port outside the tree; else empty
  std::filesystem::path dump;      // folder for the port's recording, made
  std::function<BisectReport()> bisect;  // empty: left out
  /// Called with the name of each stage as it begins.
  std::function<void(const std::string&)> on_stage;
};

struct DebugReport {
  Outcome outcome = Outcome::kUndecided;
  std::string headline;  // what the verdict rests on, one line
  std::vector<DebugStage> stages;
  std::optional<Recording> port;
  std::optional<DiffReport> diff;
  std::vector<GreedyCheck> greedy;
  std::vector<IsolatedPort> isolated;  // one a dtype
  ExplainReport explained;
  std::optional<BisectReport> bisected;
  /// In words; `suspected` is what is wrong or open and not yet explained.
  std::vector<std::string> verified, suspected, not_covered;
  std::string since;  // what the edit before this run changed; empty where that is not known
  std::string next;   // the command to run

  /// Faults with a cause, and all.
  size_t n_named() const;
  const DebugStage* stopped() const;
};

/// Runs the stages. What goes wrong while the port is opened or run ends the report there, as
/// undecided; other errors are thrown. `reference` outlives the report.
DebugReport debug(const Recording& reference, const std::function<OpenPort()>& open,
                  const DebugOptions& options);

}  // namespace lockstep::parity
