// Pictures of a comparison as HTML: SVG that stretches to its place, with labels that do not.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "parity/diff.h"

namespace lockstep::parity {

/// What isolated replay adds to a comparison's pictures; may be empty.
struct Marks {
  /// Paths of values that are wrong on the reference's own inputs, as isolate names them.
  std::set<std::string> sources;
  /// The largest error on the reference's inputs, by dtype and depth_of().
  std::map<std::pair<std::string, std::string>, double> isolated;
};

/// Where a tap stands between the embedding and the logits: "embedding", "layer 3", "final norm",
/// "logits"; empty for what has no such place.
std::string depth_of(const std::string& path);

/// The runs of one prompt in one dtype: the prefill, then its decode steps.
using RunGroup = std::vector<const RunDiff*>;
/// In the order of the report.
std::vector<RunGroup> group_runs(const DiffReport& report);

/// How far a ratio is from the bands of `tap`: "h0" silent, "h1" watched, "h2" diverged, and from
/// tenfold to tenfold on to "h5"; "hx" unjudged.
std::string_view heat_class(const TapDiff& tap, double ratio);

/// Depth downwards, tokens to the right, the error of each over its floor. Empty where no
/// tokens were kept (DiffOptions::keep_tokens).
std::string heat_map_html(const RunGroup& group, const Marks& marks);
/// Error and floor of the whole tensors over depth, on a logarithmic axis.
std::string curve_html(const RunDiff& run, const Marks& marks);
/// The error over its floor of each token of one tap; empty where no tokens were kept.
std::string profile_html(const TapDiff& tap);

}  // namespace lockstep::parity
