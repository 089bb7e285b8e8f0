// The noise floor: how far the reference is from itself in lower precision, with other kernels,
// or on another device. Measured from recordings, never assumed.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "parity/diff.h"
#include "parity/recording.h"

namespace lockstep::parity {

/// All runs of the reference side: the recording's own first.
struct ReferenceRun {
  const Run* run = nullptr;
  bool own = true;
};

class Floors {
 public:
  Floors(std::vector<ReferenceRun> runs, ThreadPool& pool) : runs_(std::move(runs)), pool_(pool) {}

  /// The run that `port` is compared with: same ids, phase and step, the float32 one where there
  /// is one (float64 serves the floor), else of the port's own dtype, else nothing. Of several,
  /// the recording's own, then the one with the port's attention and device.
  const Run* truth_for(const RunInfo& port, const std::string& port_dtype) const;
  /// Whether any reference run has these ids, phase and step.
  bool has_ids(const RunInfo& port) const;

  /// f of a tap (or "logits") for ports of `dtype`: the largest relative L2 over all reference
  /// runs of that phase, plus one rounding. Nothing when it was not recorded.
  std::optional<Profile> floor(const std::string& dtype, Phase phase, const std::string& key,
                               bool is_logits);
  /// The profile of a comparison with the tap `key` of the reference. Under kFewElements elements
  /// it is relative to the median energy of the reference's rows of that tap, over all its runs,
  /// where that is more than their own.
  Profile profile(const TapMetrics& metrics, const std::string& key);
  /// From which runs, for the report.
  std::string source(const std::string& dtype);

 private:
  struct Measured {
    std::map<std::string, Profile> low, spread, wide;  // by "phase key"
    std::string source;
  };
  const Measured& measured(const std::string& dtype);
  double usual_energy(const std::string& key);
  void measure(const Run& truth, const Run& other, std::map<std::string, Profile>& into);

  std::vector<ReferenceRun> runs_;
  ThreadPool& pool_;
  std::map<std::string, Measured> by_dtype_;
  std::map<std::string, double> usual_;  // energy of one element, by key
};

bool same_position(const RunInfo& a, const RunInfo& b);
/// How a tap's rows are laid out in this run.
CompareOptions compare_options(const Run& run, const Tap& reference, const Tap& port);

}  // namespace lockstep::parity
