// A task, asked: items in parallel, kept line by line so that a run can go on where it ended, and
// summed up with standard errors.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "eval/scorer.h"
#include "eval/task.h"

namespace lockstep::eval {

/// What was answered to one item; scores are made of it.
struct Result {
  std::vector<Loglikelihood> choices;
  Generated generated;
};

struct Metric {
  double value = 0;
  double standard_error = 0;  // of the mean
};

/// The names are lm-evaluation-harness's: "acc", "acc_norm", "mc2", "exact_match".
std::map<std::string, double> score(const Item& item, const Result& result);
/// Whether another order of the same sums could make another choice the likeliest: the two best are
/// within 2e-4 (acc), which is what two sound computations may differ by.
bool is_tie(const Result& result);

struct Progress {
  size_t n_done = 0, n_total = 0;
  size_t item = 0;    // that was answered
  double metric = 0;  // so far
};

struct RunOptions {
  int concurrency = 8;
  /// Of the task's metric. Once it cannot be reached any more nothing further is asked.
  std::optional<double> target;
  /// Where answers are kept: JSON lines. Those that stand there already are not asked again. Empty:
  /// nowhere.
  std::filesystem::path output;
  std::function<void(const Progress&)> progress;  // from any thread, one at a time
};

enum class Outcome : uint8_t { kDone, kUnreachable, kInterrupted };

struct Summary {
  Outcome outcome = Outcome::kDone;
  size_t n_done = 0, n_total = 0, n_kept = 0;  // n_kept: answered by an earlier run
  size_t n_cut = 0;                            // items whose context was cut
  std::map<std::string, Metric> metrics;       // of what was answered
  std::vector<std::string> ties;               // ids
  std::string error, hint;                     // with kInterrupted
  std::vector<std::optional<Result>> results;  // an item
};

/// Asks one item before all others, so that what cannot work fails at once. Throws
/// kFailedPrecondition where `output` is of other questions or another model; what stops it on the
/// way is in the summary.
Summary run(const Task& task, Scorer& scorer, const RunOptions& options);

}  // namespace lockstep::eval
