// The comparison of two recordings: which runs and taps belong together, how far apart they are
// against the measured floor, and what follows. docs/parity.md says how to read it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "parity/logits.h"
#include "parity/metrics.h"
#include "parity/recording.h"

namespace lockstep::parity {

struct DiffOptions {
  std::vector<std::string> taps;  // globs over tap keys; empty means all
  std::vector<std::string> skip;
  bool strict = false;
  bool validate_only = false;
  bool keep_tokens = false;    // per-token sums of every tap, not only of those that differ
  bool keep_channels = false;  // per-channel sums of every tap
};

/// Bands of the ratio g/f: silent up to `watch`, watched up to `diverged`, diverged above.
struct Bands {
  double watch = 1.5, diverged = 3.0;
};
/// Noise dominates small tensors, so their bands are wider. `strict` calls diverged what exceeds
/// the silent band.
Bands bands_for(int64_t elements, bool strict) noexcept;

/// Of float32 taps and logits: how far two sound implementations of a small model may be apart.
inline constexpr double kFloat32TapBar = 5e-6;
inline constexpr double kFloat32LogitsBar = 3e-6;
/// A recorded float64 floor replaces the bars; this many times it is diverged.
inline constexpr double kFloat64Factor = 5;
/// A single token, the tensor without its largest channels, a single channel: the worst of many
/// scatters more than the whole, so their bands are this many times as wide. A channel alone is
/// watched, never diverged.
/// The worst of few tokens says little of the worst of many: a floor from fewer than 64 tokens, and
/// fewer than the port's run has, gets twice the band for single tokens.
inline constexpr int64_t kEnoughTokens = 64;
inline constexpr double kNarrowFloorBand = 2;
inline constexpr double kTokenBand = 2, kTrimmedBand = 1.25, kChannelBand = 3;
/// A relative L2 of fewer elements than this is one of hardly any average: where they nearly cancel
/// it says nothing. They are weighed as if they had the energy that the tap usually has.
inline constexpr int64_t kFewElements = 16;
/// Tokens at near ties may be left out of a tap, up to this share of them.
inline constexpr double kMostRerouted = 0.25;
/// What attends to such tokens may be this many times its band away, if float32 is clean there.
inline constexpr double kAttendedBand = 2;
/// The float32 bars of the parts, in units of the whole tensor's.
inline constexpr double kFloat32TokenBar = 5, kFloat32TrimmedBar = 2, kFloat32ChannelBar = 10;
/// A reference that is further from itself than this is no measure of anything.
inline constexpr double kLargestFloor = 0.2, kLargestFloat32Floor = 2e-4;
/// Root mean square of one rounding to `dtype`, relative: what any floor is at least.
double one_rounding(const std::string& dtype) noexcept;

enum class Judgement : uint8_t { kClean, kWatch, kDiverged, kUnjudged };
std::string_view judgement_name(Judgement j) noexcept;

struct TapDiff {
  const Tap* reference = nullptr;
  const Tap* port = nullptr;
  std::string key;  // as the port names it: "model.layers.0.mlp:output"
  TapMetrics metrics;
  std::optional<Profile> floor;  // f
  Profile g;                     // relative L2 of the port against the reference
  Bands bands;
  double ratio = 0;  // the worst g/f of the parts, in units of the whole tensor's bands
  Judgement judgement = Judgement::kUnjudged;
  /// Within its bands but for a few tokens, for which a router may have chosen other experts.
  bool maybe_routing = false;
  /// And no router's record tells which: nothing acquits it.
  bool choice_unknown = false;
  bool token0_clean = true;
  double token0_g = 0;
  std::string note;
};

/// A router's tap in which tokens went to other experts than the reference's.
struct Rerouted {
  std::string key;
  int64_t tokens = 0;  // of the run
  int64_t clear = 0;   // of them, those that no near tie explains
};

/// A port's run and what it is judged by.
struct RunDiff {
  const Run* reference = nullptr;  // the most precise reference of the same ids
  const Run* port = nullptr;
  std::string dtype;  // of the port
  std::string floor_source;
  std::vector<TapDiff> taps;  // in order of execution
  std::vector<std::string> only_in_reference, only_in_port, left_out;
  std::vector<std::string> by_expert;  // router outputs whose rows are no tokens
  std::optional<TapDiff> logits;
  std::optional<LogitsMetrics> ranks;
  int64_t first_logit_row = 0;
  std::vector<Rerouted> rerouted;
  /// Of each of its tokens, whether it went elsewhere in any layer by no clear margin.
  std::vector<bool> elsewhere;
  int first_diverged = -1;  // index into taps; taps.size() means the logits
};

enum class Level : uint8_t { kInfo, kWatch, kDiverged, kRefusal };
std::string_view level_name(Level level) noexcept;

struct DiffFinding {
  Level level = Level::kInfo;
  std::string code;  // "nonfinite", "layer_index_shift", ...
  std::string run, tap;
  std::string message;
  std::string way_out;
};

enum class Outcome : uint8_t { kPass, kDiverged, kUndecided };
std::string_view outcome_name(Outcome outcome) noexcept;

struct Coverage {
  int runs = 0, taps = 0, layers = 0, layers_expected = 0;
  bool embedding = false, final_norm = false, logits = false;
  int64_t tokens = 0, elements = 0;
};

struct DiffReport {
  Outcome outcome = Outcome::kUndecided;
  bool valid = false;  // no refusal
  bool strict = false, validate_only = false;
  std::vector<RunDiff> runs;
  std::vector<DiffFinding> findings;  // refusals first
  Coverage covered;
  std::vector<std::string> not_covered;
  uint64_t bytes = 0;  // read from both sides

  bool refused(std::string_view code) const noexcept;
};

/// Sets `first_diverged`: the first output in order of execution, else the first input, else the
/// logits.
void find_first_diverged(RunDiff& run);

/// `floors` are more recordings of the reference (another dtype, attention or device), from which
/// the floor is widened; they are never what the port is compared with, unless `reference` lacks
/// the precise run. The recordings must outlive the report. Throws kInvalidArgument when both
/// sides are the same file.
DiffReport diff(const Recording& reference, const std::vector<const Recording*>& floors,
                const Recording& port, const DiffOptions& options, ThreadPool& pool);

}  // namespace lockstep::parity
