#include "parity/explain/explain.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "parity/anatomy.h"
#include "parity/explain/graph_site.h"
#include "parity/explain/source_line.h"
#include "parity/explain/stack.h"

namespace lockstep::parity {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

// One value that is wrong, in every run that shows it.
struct Guilty {
  std::vector<const IsolatedTap*> taps;
  const IsolatedTap* judged = nullptr;  // the one of them that says most
  size_t order = 0;
};

// One port in one dtype: its isolated values, and the runs as they are needed.
class Port {
 public:
  Port(const IsolatedPort& port, const Recording& reference)
      : pipeline_(*port.pipeline),
        reference_(reference),
        report_(port.report),
        misfits_(misfits(pipeline_.graph(), reference)),
        facts_(pipeline_, reference) {}

  const IsolateReport& report() const { return report_; }
  Pipeline& pipeline() { return pipeline_; }

  RunReplay& replay(const std::string& run_id) {
    std::unique_ptr<RunReplay>& held = replays_[run_id];
    if (held == nullptr) {
      const auto at =
          std::ranges::find(reference_.runs, run_id, [](const Run& run) { return run.info.id; });
      held = std::make_unique<RunReplay>(pipeline_, reference_, misfits_, *at);
      held->prepare();
    }
    return *held;
  }

  std::unique_ptr<GraphSite> site(const IsolatedTap& tap) {
    RunReplay& run = replay(tap.run);
    const auto at = std::ranges::find(run.targets(), tap.path, &RunReplay::Target::path);
    return std::make_unique<GraphSite>(facts_, run, *at, tap);
  }

  /// Values that are sources, in order of execution, but for those of `known` paths.
  std::vector<Guilty> guilty(const std::set<std::string>& known) {
    std::map<std::string, Guilty> by_path;
    for (const IsolatedTap& tap : report_.taps) {
      if (tap.verdict != IsolatedTap::Verdict::kSource || known.contains(tap.path)) continue;
      const auto [at, is_new] = by_path.try_emplace(tap.path);
      if (is_new) at->second.order = by_path.size();
      at->second.taps.push_back(&tap);
      if (at->second.judged == nullptr || says_more(tap, *at->second.judged)) {
        at->second.judged = &tap;
      }
    }
    std::vector<Guilty> all;
    for (auto& [path, guilty] : by_path) all.push_back(std::move(guilty));
    std::ranges::sort(all, {}, &Guilty::order);
    return all;
  }

 private:
  // A prefill before a step; of prefills the one of most tokens, of steps the first, whose caches
  // no fault has touched; then more of an effect.
  bool says_more(const IsolatedTap& a, const IsolatedTap& b) {
    const auto rank = [&](const IsolatedTap& tap) {
      const auto at =
          std::ranges::find(reference_.runs, tap.run, [](const Run& run) { return run.info.id; });
      const bool is_prefill = at->info.phase == Phase::kPrefill;
      const auto n = static_cast<int64_t>(at->info.prompt_ids.size());
      return std::tuple(is_prefill, is_prefill ? n : -n, tap.isolated / tap.bar);
    };
    return rank(a) > rank(b);
  }

  Pipeline& pipeline_;
  const Recording& reference_;
  const IsolateReport& report_;
  std::set<std::string> misfits_;
  PortFacts facts_;
  std::map<std::string, std::unique_ptr<RunReplay>> replays_;
};

// What sites of one kind share: the place inside a layer, and the ops.
std::string kind_of(const IsolatedTap& tap) {
  const Anatomy place = dissect(tap.path);
  return std::string(place.layer >= 0 ? place.inner : std::string_view(tap.path)) + "|" + tap.ops;
}

// One op may be behind several values of its layer; one mistake may be in many layers.
bool may_be_one(const Fault& fault, const std::string& kind, const IsolatedTap& tap) {
  return fault.kind == kind || dissect(fault.path).layer == dissect(tap.path).layer;
}

// Of the site, or where nothing fits of the one op of it that is to blame.
SiteJudgement judge(const GraphSite& site, const std::vector<Cause>& causes = catalogue()) {
  SiteJudgement judgement = judge_site(site, causes);
  if (judgement.verdict != CauseVerdict::kUndecided) return judgement;
  const std::unique_ptr<GraphSite> narrowed = site.narrowed();
  if (narrowed == nullptr) return judgement;
  SiteJudgement of_op = judge_site(*narrowed, causes);
  return of_op.verdict == CauseVerdict::kUndecided ? std::move(judgement) : std::move(of_op);
}

// Whether the causes that explain `fault` explain this site too, said as there.
bool is_explained_alike(const Fault& fault, const GraphSite& site) {
  if (fault.judgement.verdict == CauseVerdict::kUndecided) return false;
  std::vector<Cause> same;
  for (const Cause& cause : catalogue()) {
    if (cause.id == fault.judgement.ranked.front().cause->id) same.push_back(cause);
  }
  const SiteJudgement judgement = judge(site, same);
  return judgement.verdict != CauseVerdict::kUndecided &&
         judgement.ranked.front().finding.what == fault.judgement.ranked.front().finding.what;
}

void add_site(Fault& fault, const Guilty& guilty) {
  fault.paths.push_back(guilty.judged->path);
  const int layer = dissect(guilty.judged->path).layer;
  if (layer >= 0 && std::ranges::find(fault.layers, layer) == fault.layers.end()) {
    fault.layers.push_back(layer);
    std::ranges::sort(fault.layers);
  }
  fault.n_runs = std::max(fault.n_runs, guilty.taps.size());
}

Fault new_fault(const Guilty& guilty, SiteJudgement judgement) {
  Fault fault;
  fault.path = guilty.judged->path;
  fault.module_class = guilty.judged->module_class;
  fault.ops = guilty.judged->ops;
  fault.run = guilty.judged->run;
  fault.isolated = guilty.judged->isolated;
  fault.bar = guilty.judged->bar;
  fault.judgement = std::move(judgement);
  fault.logits_before = fault.logits_after = kNone;
  add_site(fault, guilty);
  return fault;
}

// Whether a step reads a cache that an earlier run filled with what `fault` left out: its layer's
// keys as they were never rotated, say. The step itself need not be wrong.
bool is_left_in_cache(const Fault& fault, const GraphSite& site) {
  const bool is_decided = fault.judgement.verdict != CauseVerdict::kUndecided;
  if (!is_decided || fault.ops != "nothing" || site.phase != Phase::kDecode) return false;
  const auto reads_cache = [](const SiteStep& step) {
    return std::ranges::any_of(step.operands, [](const Operand& operand) {
      return operand.kind == Operand::Kind::kCache;
    });
  };
  return dissect(fault.path).layer == site.geometry.layer &&
         std::ranges::any_of(site.steps, reads_cache);
}

// One port's faults, added to those that another dtype has shown.
void find_faults(Port& port, ExplainReport& report) {
  std::set<std::string> known;
  for (const Fault& fault : report.faults) known.insert(fault.paths.begin(), fault.paths.end());
  for (const Guilty& guilty : port.guilty(known)) {
    std::unique_ptr<GraphSite> site;
    try {
      site = port.site(*guilty.judged);
    } catch (const Error& error) {
      report.not_covered.push_back(guilty.judged->run + " " + guilty.judged->path + ": " +
                                   error.message());
      continue;
    }
    const std::string kind = kind_of(*guilty.judged);
    const auto same = std::ranges::find_if(report.faults, [&](const Fault& fault) {
      return is_left_in_cache(fault, *site) ||
             (may_be_one(fault, kind, *guilty.judged) && is_explained_alike(fault, *site));
    });
    if (same != report.faults.end()) {
      add_site(*same, guilty);
      continue;
    }
    report.faults.push_back(new_fault(guilty, judge(*site)));
    report.faults.back().kind = kind;
  }
}

}  // namespace

ExplainReport explain(const std::vector<IsolatedPort>& ports, const Recording& reference,
                      const ExplainOptions& options) {
  ExplainReport report;
  std::vector<const IsolatedPort*> ordered;
  for (const IsolatedPort& port : ports) ordered.push_back(&port);
  std::ranges::stable_sort(ordered, {}, [](const IsolatedPort* port) {
    return port->pipeline->graph().activation_dtype != DType::kFloat32;
  });
  for (const IsolatedPort* isolated : ordered) {
    Port port(*isolated, reference);
    report.n_values += port.report().taps.size();
    std::ranges::copy(port.report().not_replayed, std::back_inserter(report.not_covered));
    const size_t first = report.faults.size();
    find_faults(port, report);
    if (report.logits_run.empty()) {
      put_right(
          port.pipeline(), reference,
          [&](const std::string& run) -> RunReplay& { return port.replay(run); }, report);
    }
    for (size_t i = first; i < report.faults.size(); ++i) {
      report.faults[i].source =
          source_line(options.source_folders, port.pipeline().graph(), report.faults[i].path);
    }
  }
  return report;
}

ExplainReport explain(const std::vector<Pipeline*>& pipelines, const Recording& reference,
                      const ExplainOptions& options) {
  std::vector<IsolatedPort> ports;
  for (Pipeline* pipeline : pipelines) {
    ports.push_back({pipeline, isolate(*pipeline, reference)});
  }
  return explain(ports, reference, options);
}

}  // namespace lockstep::parity
