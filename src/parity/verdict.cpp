#include "parity/verdict.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "parity/anatomy.h"
#include "parity/floor.h"
#include "parity/harness.h"

namespace lockstep::parity {
namespace {

bool judged(const TapDiff& tap) { return tap.judgement != Judgement::kUnjudged; }

/// The module path in a tap key, "model.layers.0" of "model.layers.0#1:output".
std::string_view key_path(std::string_view key) {
  key = key.substr(0, std::min(key.rfind(':'), key.size()));
  return key.substr(0, std::min(key.rfind('#'), key.size()));
}

/// "a, b, c and 4 more".
std::string some_of(const std::vector<std::string>& names, size_t most = 4) {
  std::string out;
  for (size_t i = 0; i < std::min(most, names.size()); ++i) {
    out += (i == 0 ? "" : ", ") + names[i];
  }
  if (names.size() > most) out += fmt::format(" and {} more", names.size() - most);
  return out;
}

int highest_layer(const Run& run) {
  int highest = -1;
  for (const Tap& tap : run.taps) highest = std::max(highest, dissect(tap.info.path).layer);
  return highest;
}

/// Layers that either side says the model has.
int expected_layers(const Recording& reference, const Recording& port) {
  int n = std::max(reference.n_layers, port.n_layers);
  for (const Recording* side : {&reference, &port}) {
    for (const Run& run : side->runs) n = std::max(n, highest_layer(run) + 1);
  }
  return n;
}

struct RunCoverage {
  std::set<int> layers;          // judged
  std::set<int> present_layers;  // compared, judged or not
  bool embedding = false, final_norm = false, logits = false;

  explicit RunCoverage(const RunDiff& run) {
    for (const TapDiff& tap : run.taps) {
      const TapInfo& info = tap.port->info;
      if (info.role != TapRole::kOutput || info.index != 0) continue;
      const Anatomy a = dissect(info.path);
      if (a.landmark == Landmark::kLayer) present_layers.insert(a.layer);
      if (!judged(tap)) continue;
      if (a.landmark == Landmark::kLayer) layers.insert(a.layer);
      embedding = embedding || a.landmark == Landmark::kEmbedding;
      final_norm =
          final_norm || a.landmark == Landmark::kFinalNorm || a.landmark == Landmark::kBackbone;
    }
    logits = run.logits && judged(*run.logits);
  }

  int score(int expected) const {
    return static_cast<int>(layers.size()) * 4 + (static_cast<int>(layers.size()) == expected) +
           embedding + final_norm + logits;
  }
};

class Decision {
 public:
  Decision(const Recording& reference, const Recording& port, const DiffOptions& options,
           DiffReport& report)
      : reference_(reference),
        port_(port),
        options_(options),
        report_(report),
        expected_(expected_layers(reference, port)) {}

  void run() {
    const bool routing_told = explain_routing();
    count();
    for (const RunDiff& run : report_.runs) {
      if (!missing_layers(run)) holes(run);
    }
    for (const std::string& note : reference_.notes) report_.not_covered.push_back(note);
    for (const std::string& note : port_.notes) report_.not_covered.push_back(note);
    uncovered_taps();
    uncovered_runs();
    if (!options_.validate_only) judged_findings();
    std::set<std::string> dtypes;
    for (const RunDiff& run : report_.runs) dtypes.insert(run.dtype);
    bool complete = !dtypes.empty() && routing_told;
    for (const std::string& dtype : dtypes) complete = cover(dtype) && complete;
    outcome(complete);
  }

 private:
  /// The same computation in float32, where near ties are a thousand times rarer, acquits a tap of
  /// which single tokens may have gone to other experts. False where one stays suspected.
  bool explain_routing() {
    bool told = true;
    for (RunDiff& run : report_.runs) {
      const auto acquit = [&](TapDiff& tap) {
        if (!tap.maybe_routing) return;
        if (!tap.choice_unknown && clean_in_float32(run, tap.key)) {
          tap.judgement = Judgement::kWatch;
          tap.note += "; clean in float32";
          return;
        }
        if (told) {
          report_.findings.push_back(
              {Level::kWatch, "routing", run.port->info.id, tap.key, tap.note,
               tap.choice_unknown
                   ? "record the router's ids: reference/record.py does, at every level"
                   : "record the same prompt in float32 on both sides"});
        }
        told = false;
      };
      for (TapDiff& tap : run.taps) acquit(tap);
      if (run.logits) acquit(*run.logits);
    }
    return told;
  }

  bool clean_in_float32(const RunDiff& run, const std::string& key) const {
    for (const RunDiff& other : report_.runs) {
      if (other.dtype != "float32" || !same_position(other.port->info, run.port->info)) continue;
      for (const TapDiff& tap : other.taps) {
        if (tap.key == key) return tap.judgement == Judgement::kClean;
      }
      if (key == "logits" && other.logits) return other.logits->judgement == Judgement::kClean;
    }
    return false;
  }

  void count() {
    Coverage& c = report_.covered;
    c.layers_expected = expected_;
    c.runs = static_cast<int>(report_.runs.size());
    for (const RunDiff& run : report_.runs) {
      for (const TapDiff& tap : run.taps) {
        if (!judged(tap)) continue;
        ++c.taps;
        c.elements += tap.metrics.elements();
      }
      if (run.logits && judged(*run.logits)) c.elements += run.logits->metrics.elements();
      c.tokens = std::max(c.tokens, static_cast<int64_t>(run.port->info.prompt_ids.size()));
    }
  }

  bool missing_layers(const RunDiff& run) {
    const RunCoverage coverage(run);
    if (coverage.present_layers.empty()) return false;
    std::vector<std::string> missing;
    for (int layer = 0; layer < expected_; ++layer) {
      if (coverage.present_layers.contains(layer)) continue;
      const bool filtered =
          std::any_of(run.left_out.begin(), run.left_out.end(), [&](const std::string& key) {
            const Anatomy a = dissect(key_path(key));
            return a.landmark == Landmark::kLayer && a.layer == layer;
          });
      if (!filtered) missing.push_back(fmt::format("{}", layer));
    }
    for (const std::string& key : run.only_in_reference) {  // later calls of a looped stack
      const Anatomy a = dissect(key_path(key));
      if (a.landmark == Landmark::kLayer && key.find('#') != key.npos) missing.push_back(key);
    }
    if (missing.empty()) return false;
    refuse(report_, "missing_layer", run.port->info.id, "",
           fmt::format("of {} layers, layer {} was not recorded on both sides", expected_,
                       some_of(missing, 8)));
    return true;
  }

  /// A tap that the port has in some layers and lacks in others that the reference has.
  void holes(const RunDiff& run) {
    std::map<std::string, std::pair<std::set<int>, std::set<int>>> by_inner;
    const auto add = [&](const std::string& key, bool matched) {
      const Anatomy a = dissect(key_path(key));
      if (a.layer < 0 || a.shared || a.dispatch) return;
      std::string inner(a.inner);
      inner += key.substr(key_path(key).size());
      auto& [have, lack] = by_inner[inner];
      (matched ? have : lack).insert(a.layer);
    };
    for (const TapDiff& tap : run.taps) add(tap_key(tap.reference->info), true);
    for (const std::string& key : run.only_in_reference) add(key, false);
    for (const auto& [inner, layers] : by_inner) {
      if (layers.first.empty() || layers.second.empty() || inner.front() == ':') continue;
      refuse(report_, "coverage_hole", run.port->info.id, inner,
             fmt::format("the port has it in {} layers and lacks it in {} that the reference has, "
                         "layer {} first",
                         layers.first.size(), layers.second.size(), *layers.second.begin()));
      return;
    }
  }

  void uncovered_taps() {
    std::set<std::string> reference_only, filtered, dispatch, by_expert, no_floor;
    for (const RunDiff& run : report_.runs) {
      reference_only.insert(run.only_in_reference.begin(), run.only_in_reference.end());
      by_expert.insert(run.by_expert.begin(), run.by_expert.end());
      for (const std::string& key : run.left_out) {
        (dissect(key_path(key)).dispatch ? dispatch : filtered).insert(key);
      }
      for (const TapDiff& tap : run.taps) {
        if (!judged(tap)) no_floor.insert(fmt::format("{} ({})", tap.key, run.dtype));
      }
      if (run.logits && !judged(*run.logits)) {
        no_floor.insert(fmt::format("logits ({})", run.dtype));
      }
    }
    const auto tell = [&](const std::set<std::string>& keys, const char* what) {
      if (keys.empty()) return;
      report_.not_covered.push_back(
          fmt::format("{} {}: {}", keys.size(), what,
                      some_of(std::vector<std::string>(keys.begin(), keys.end()))));
    };
    tell(reference_only, "taps that only the reference has");
    tell(filtered, "taps left out by --taps and --skip");
    tell(dispatch, "taps inside an expert dispatch");
    tell(by_expert, "router outputs listed expert by expert, whose rows are no tokens");
    if (!options_.validate_only) tell(no_floor, "taps without a usable floor");
  }

  void uncovered_runs() {
    std::vector<std::string> prompts, decodes;
    std::set<std::string> dtypes, port_dtypes;
    for (const RunDiff& run : report_.runs) port_dtypes.insert(run.dtype);
    std::set<std::vector<int64_t>> seen;
    for (const Run& run : reference_.runs) {
      if (!run.info.dtype.empty() && !port_dtypes.contains(run.info.dtype) &&
          run.info.dtype != "float64") {
        dtypes.insert(run.info.dtype);
      }
      const bool compared = std::any_of(
          report_.runs.begin(), report_.runs.end(),
          [&](const RunDiff& diff) { return same_position(diff.port->info, run.info); });
      if (compared || !seen.insert(run.info.prompt_ids).second) continue;
      (run.info.phase == Phase::kPrefill ? prompts : decodes).push_back(run.info.id);
    }
    const auto tell = [&](const std::vector<std::string>& ids, const char* what) {
      if (ids.empty()) return;
      report_.not_covered.push_back(fmt::format("{} {}: {}", ids.size(), what, some_of(ids)));
    };
    tell(prompts, "prompts of the reference that the port did not record");
    tell(decodes, "decode steps of the reference that the port did not record");
    for (const std::string& dtype : dtypes) {
      report_.not_covered.push_back(
          fmt::format("{}: the reference recorded it, the port did not", dtype));
    }
    const bool decoded =
        std::any_of(report_.runs.begin(), report_.runs.end(),
                    [](const RunDiff& r) { return r.port->info.phase == Phase::kDecode; });
    if (!decoded && !report_.runs.empty()) {
      report_.not_covered.push_back("decode steps: none on both sides");
    }
    if (report_.covered.tokens > 0) {
      report_.not_covered.push_back(
          fmt::format("contexts longer than {} tokens", report_.covered.tokens));
    }
  }

  void judged_findings() {
    for (const RunDiff& run : report_.runs) {
      std::vector<std::string> watched;
      for (const TapDiff& tap : run.taps) {
        if (tap.judgement == Judgement::kWatch) watched.push_back(tap.key);
      }
      if (run.logits && run.logits->judgement == Judgement::kWatch) watched.push_back("logits");
      if (!watched.empty()) {
        report_.findings.push_back(
            {Level::kWatch, "watch", run.port->info.id, watched.front(),
             fmt::format("{} taps above the silent band: {}", watched.size(), some_of(watched)),
             ""});
      }
      diverged_finding(run);
      rerouted_finding(run);
      flips_finding(run);
    }
    bool identical = !report_.runs.empty();
    for (const RunDiff& run : report_.runs) {
      for (const TapDiff& tap : run.taps) identical = identical && tap.metrics.identical();
      if (run.logits) identical = identical && run.logits->metrics.identical();
    }
    if (identical) {
      report_.findings.push_back({Level::kInfo, "identical", "", "",
                                  "every value is bit-identical: two copies of one recording?",
                                  ""});
    }
  }

  void diverged_finding(const RunDiff& run) {
    if (run.first_diverged < 0) return;
    const bool at_logits = run.first_diverged == static_cast<int>(run.taps.size());
    const TapDiff& tap = at_logits ? *run.logits : run.taps[run.first_diverged];
    std::string message = fmt::format(
        "first tap above its band in order of execution: rel L2 {:.2g}, g/f {:.3g}, "
        "token 0 {}",
        tap.g.total, tap.ratio, tap.token0_clean ? "clean" : "differs too");
    if (!tap.note.empty()) message += "; " + tap.note;
    report_.findings.push_back(
        {Level::kDiverged, "diverged", run.port->info.id, tap.key, message, ""});
  }

  void rerouted_finding(const RunDiff& run) {
    if (run.rerouted.empty()) return;
    std::vector<std::string> where;
    int64_t clear = 0;
    for (const Rerouted& r : run.rerouted) {
      where.push_back(fmt::format("{} in {}", r.tokens, r.key));
      clear += r.clear;
    }
    report_.findings.push_back(
        {clear > 0 ? Level::kWatch : Level::kInfo, "rerouted", run.port->info.id,
         run.rerouted.front().key,
         fmt::format(
             "{} of {} tokens chose other experts: {}{}",
             std::count(run.elsewhere.begin(), run.elsewhere.end(), true), run.elsewhere.size(),
             some_of(where),
             clear > 0 ? fmt::format("; {} by a clear margin, which excuses nothing", clear) : ""),
         ""});
  }

  void flips_finding(const RunDiff& run) {
    if (!run.ranks || run.ranks->n_flips == 0) return;
    const auto& flips = run.ranks->flips;
    const auto ties =
        std::count_if(flips.begin(), flips.end(), [](const Flip& f) { return f.tie; });
    const bool all_ties = ties == std::ssize(flips);
    report_.findings.push_back(
        {all_ties ? Level::kInfo : Level::kWatch, "argmax", run.port->info.id, "logits",
         fmt::format("{} of {} positions choose another token, {} within the reference's own "
                     "noise; first at position {}: margin {:.2g}",
                     run.ranks->n_flips, run.ranks->rows, ties,
                     run.first_logit_row + flips.front().row, flips.front().margin),
         ""});
  }

  /// Whether one prefill in `dtype` shows everything that a pass needs.
  bool cover(const std::string& dtype) {
    std::optional<RunCoverage> best;
    for (const RunDiff& run : report_.runs) {
      if (run.dtype != dtype || run.port->info.phase != Phase::kPrefill) continue;
      const RunCoverage c(run);
      if (!best || c.score(expected_) > best->score(expected_)) best = c;
    }
    std::vector<std::string> lacking;
    if (!best) {
      lacking.push_back("a prefill");
    } else {
      if (!best->embedding) lacking.push_back("embedding");
      if (best->layers.empty()) {
        lacking.push_back("layers");
      } else if (static_cast<int>(best->layers.size()) < expected_) {
        lacking.push_back(
            fmt::format("{} of {} layers", expected_ - std::ssize(best->layers), expected_));
      }
      if (!best->final_norm) lacking.push_back("final norm");
      if (!best->logits) lacking.push_back("logits");
      Coverage& c = report_.covered;
      c.layers = std::max(c.layers, static_cast<int>(best->layers.size()));
      c.embedding = c.embedding || best->embedding;
      c.final_norm = c.final_norm || best->final_norm;
      c.logits = c.logits || best->logits;
    }
    if (lacking.empty() || options_.validate_only) return lacking.empty();
    report_.findings.push_back(
        {Level::kWatch, "coverage", "", "",
         fmt::format("no pass in {}: not judged on both sides in one prefill: {}", dtype,
                     some_of(lacking)),
         "record embedding, every layer, final norm and logits on both sides, and the reference in "
         "float32 and in the port's dtype"});
    return false;
  }

  void outcome(bool complete) {
    auto& findings = report_.findings;
    std::stable_sort(findings.begin(), findings.end(),
                     [](const DiffFinding& a, const DiffFinding& b) { return a.level > b.level; });
    report_.valid = findings.empty() || findings.front().level != Level::kRefusal;
    if (!report_.valid) {
      // Whatever differs may be the recording's fault: no operator is blamed.
      std::erase_if(findings, [](const DiffFinding& f) { return f.level == Level::kDiverged; });
      report_.outcome = Outcome::kUndecided;
      return;
    }
    if (options_.validate_only) {
      report_.outcome = Outcome::kUndecided;
      return;
    }
    const bool diverged = std::any_of(findings.begin(), findings.end(), [](const DiffFinding& f) {
      return f.level == Level::kDiverged;
    });
    report_.outcome = diverged   ? Outcome::kDiverged
                      : complete ? Outcome::kPass
                                 : Outcome::kUndecided;
  }

  const Recording& reference_;
  const Recording& port_;
  const DiffOptions& options_;
  DiffReport& report_;
  int expected_ = 0;
};

}  // namespace

void decide(const Recording& reference, const Recording& port, const DiffOptions& options,
            DiffReport& report) {
  Decision(reference, port, options, report).run();
}

}  // namespace lockstep::parity
