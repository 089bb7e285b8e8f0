#include "parity/debug/debug.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/text.h"
#include "lockstep/error.h"
#include "parity/anatomy.h"
#include "parity/format.h"
#include "parity/harness.h"

namespace lockstep::parity {
namespace {

using State = DebugStage::State;

constexpr size_t kNamedPlaces = 4;

bool is_source(const IsolatedTap& tap) { return tap.verdict == IsolatedTap::Verdict::kSource; }

std::string dtypes_of(const Recording& recording) {
  std::set<std::string> dtypes;
  for (const Run& run : recording.runs) dtypes.insert(run.info.dtype);
  return fmt::format("{}", fmt::join(dtypes, ", "));
}

std::string first_refusal(const DiffReport& diff) {
  for (const DiffFinding& finding : diff.findings) {
    if (finding.level != Level::kRefusal) continue;
    return fmt::format("{}: {}", finding.code, finding.message);
  }
  return {};
}

// "run path: why" of many runs and layers as one line a reason.
std::vector<std::string> joined_gaps(const std::vector<std::string>& gaps) {
  struct Reason {
    std::set<std::string> places;
    size_t n = 0;
  };
  std::map<std::string, Reason> reasons;
  for (const std::string& gap : gaps) {
    const size_t path = std::min(gap.find(' '), gap.size() - 1) + 1;
    const size_t why = gap.find(": ", path);
    if (why == std::string::npos) {
      ++reasons[gap].n;
      continue;
    }
    const std::string place = gap.substr(path, why - path);
    Reason& reason = reasons[gap.substr(why + 2)];
    const Anatomy anatomy = dissect(place);
    reason.places.insert(anatomy.layer < 0 ? place : std::string(anatomy.inner));
    ++reason.n;
  }
  std::vector<std::string> lines;
  for (const auto& [why, reason] : reasons) {
    std::string names;
    size_t n = 0;
    for (const std::string& place : reason.places) {
      if (++n > kNamedPlaces) break;
      names += (names.empty() ? "" : ", ") + place;
    }
    if (reason.places.size() > kNamedPlaces) names += ", ...";
    lines.push_back(names.empty() ? why
                                  : fmt::format("not replayed, {}: {} ({})",
                                                counted(reason.n, "value"), names, why));
  }
  return lines;
}

class Protocol {
 public:
  Protocol(const Recording& reference, const DebugOptions& options)
      : reference_(reference), options_(options) {}

  DebugReport run(const std::function<OpenPort()>& open) {
    if (look_at_reference() && load(open) && dump_port() && compare()) {
      isolate_values();
      find_causes();
      find_way();
    }
    skip_rest();
    decide();
    return std::move(report_);
  }

 private:
  // Runs `body`, which returns the stage's line and may set its state. What it throws as Error
  // stops the protocol.
  template <typename Body>
  bool stage(const std::string& name, const Body& body) {
    if (options_.on_stage) options_.on_stage(name);
    const StageMeter meter;
    DebugStage stage{name, State::kDone, "", {}};
    try {
      stage.result = body(stage);
    } catch (const Error& error) {
      stage.state = State::kStopped;
      stage.result = error.message();
      if (!error.hint().empty()) stage.result += "; " + error.hint();
    }
    stage.cost = meter.cost();
    report_.stages.push_back(std::move(stage));
    return report_.stages.back().state == State::kDone;
  }

  bool look_at_reference() {
    return stage("reference", [&](DebugStage& stage) -> std::string {
      DiffReport checks;
      check_recording(reference_, "reference", checks);
      if (!checks.findings.empty()) {
        stage.state = State::kStopped;
        return first_refusal(checks);
      }
      size_t n_taps = 0;
      for (const Run& run : reference_.runs) n_taps += run.taps.size();
      const auto by = reference_.producer.find("version");
      return fmt::format("{} in {}, {}{}", counted(reference_.runs.size(), "run"),
                         dtypes_of(reference_), counted(n_taps, "value"),
                         by == reference_.producer.end() ? "" : ", recorded by " + producer());
    });
  }

  std::string producer() const {
    std::string text;
    for (const char* key : {"name", "version"}) {
      const auto at = reference_.producer.find(key);
      if (at != reference_.producer.end()) text += (text.empty() ? "" : " ") + at->second;
    }
    return text;
  }

  bool load(const std::function<OpenPort()>& open) {
    return stage("load", [&](DebugStage&) {
      port_ = open();
      size_t n_values = 0;
      for (const Pipeline* pipeline : port_.pipelines) {
        n_values = std::max(n_values, pipeline->graph().nodes.size());
      }
      return fmt::format("{} of {}, {} nodes",
                         counted(port_.pipelines.size(), "pipeline"),
                         port_.pipelines.front()->graph().architecture, n_values);
    });
  }

  bool dump_port() {
    return stage("dump", [&](DebugStage&) {
      DumpOptions dump_options;
      dump_options.inputs = TapInputs::kYes;
      dump(port_.pipelines, port_.sequences, dump_options, options_.dump);
      report_.port = read_recording(options_.dump);
      return fmt::format("the port on the same tokens, {}",
                         counted(report_.port->runs.size(), "run"));
    });
  }

  bool compare() {
    return stage("diff", [&](DebugStage& stage) -> std::string {
      ThreadPool pool(port_.pipelines.front()->options().threads);
      DiffOptions options = options_.diff;
      options.keep_tokens = true;
      report_.diff = diff(reference_, {}, *report_.port, options, pool);
      const DiffReport& diff = *report_.diff;
      if (!diff.valid && !is_port_broken()) {
        stage.state = State::kStopped;
        return "harness fault, no operator is blamed: " + first_refusal(diff);
      }
      report_.greedy = check_greedy(port_.pipelines, reference_, diff);
      return compared(diff);
    });
  }

  // Whether all that was refused are values that the port alone made infinite or no number: that is
  // not the recording's fault, because the port was recorded here.
  bool is_port_broken() const {
    for (const DiffFinding& finding : report_.diff->findings) {
      if (finding.level == Level::kRefusal && finding.code != "nonfinite") return false;
    }
    return std::ranges::none_of(report_.diff->runs, [](const RunDiff& run) {
      return std::ranges::any_of(run.taps, [](const TapDiff& tap) {
        return tap.metrics.reference_nonfinite > 0;
      });
    });
  }

  static std::string compared(const DiffReport& diff) {
    size_t n_diverged = 0;
    std::string first;
    for (const RunDiff& run : diff.runs) {
      for (const TapDiff& tap : run.taps) {
        if (tap.judgement != Judgement::kDiverged) continue;
        ++n_diverged;
        if (first.empty()) first = tap.key;
      }
    }
    if (!diff.valid) return "the port's values are not finite: " + first_refusal(diff);
    if (n_diverged == 0) return fmt::format("{} values within their floors", diff.covered.taps);
    return fmt::format("{} of {} values diverge in the whole run, {} first", n_diverged,
                       diff.covered.taps, first);
  }

  void isolate_values() {
    stage("isolate", [&](DebugStage&) {
      size_t n = 0, n_sources = 0, n_carriers = 0;
      for (Pipeline* pipeline : port_.pipelines) {
        report_.isolated.push_back({pipeline, isolate(*pipeline, reference_, &*report_.port)});
        for (const IsolatedTap& tap : report_.isolated.back().report.taps) {
          ++n;
          n_sources += is_source(tap);
          n_carriers += tap.verdict == IsolatedTap::Verdict::kCarrier;
        }
      }
      return fmt::format("{} values on the reference's inputs: {} wrong, {} only carry", n,
                         n_sources, n_carriers);
    });
  }

  bool has_sources() const {
    return std::ranges::any_of(report_.isolated, [](const IsolatedPort& port) {
      return !port.report.sound();
    });
  }

  void find_causes() {
    if (report_.stages.back().state == State::kStopped) return;
    if (!has_sources()) return skip("explain", "no value is wrong on its own");
    stage("explain", [&](DebugStage&) {
      report_.explained = explain(report_.isolated, reference_, options_.explain);
      return fmt::format("{}, {} named", counted(report_.explained.faults.size(), "fault"),
                         report_.n_named());
    });
  }

  // Only a port whose every value is right can differ by the way it is run alone.
  void find_way() {
    if (report_.stopped() != nullptr) return;
    if (!options_.bisect) return skip("bisect", "not asked for");
    if (has_sources() || report_.diff->outcome == Outcome::kDiverged || !report_.diff->valid) {
      return skip("bisect", "values differ in one forward call: mend these first");
    }
    stage("bisect", [&](DebugStage&) -> std::string {
      report_.bisected = options_.bisect();
      const StageResult* first = report_.bisected->first();
      if (first != nullptr) {
        return fmt::format("{} differs: {}", stage_name(first->stage),
                           first->findings.front().message);
      }
      return fmt::format("{} of running, {}", counted(report_.bisected->stages.size(), "way"),
                         report_.bisected->outcome == Outcome::kPass ? "all alike" : "undecided");
    });
  }

  void skip(const std::string& name, const std::string& why) {
    report_.stages.push_back({name, State::kSkipped, why, {}});
  }

  void skip_rest() {
    const DebugStage* stopped = report_.stopped();
    if (stopped == nullptr) return;
    const std::string why = "stopped at " + stopped->name;
    for (const char* name : {"reference", "load", "dump", "diff", "isolate", "explain", "bisect"}) {
      if (std::ranges::find(report_.stages, name, &DebugStage::name) == report_.stages.end()) {
        skip(name, why);
      }
    }
  }

  void decide() {
    if (report_.diff) report_.not_covered = report_.diff->not_covered;
    list_gaps();
    if (const DebugStage* stopped = blocked()) return decide_stopped(*stopped);
    list_verified();
    list_suspected();
    const bool text_differs = differs_in_text();
    if (has_sources() && report_.explained.faults.empty()) {
      report_.outcome = Outcome::kDiverged;
      report_.headline = "values are wrong on the reference's own inputs, and none could be explained";
    } else if (has_sources()) {
      report_.outcome = Outcome::kDiverged;
      const size_t n = report_.explained.faults.size();
      report_.headline = fmt::format("{} with {}; {} named", counted(n, "guilty operator"),
                                     n == 1 ? "a fault" : "faults of their own",
                                     report_.n_named());
    } else if (report_.diff->outcome == Outcome::kDiverged || !report_.diff->valid) {
      report_.outcome = Outcome::kDiverged;
      report_.headline = "the whole run diverges, and no recorded value is wrong on its own";
    } else if (differs_by_way()) {
      const StageResult& first = *report_.bisected->first();
      report_.outcome = Outcome::kDiverged;
      report_.headline = fmt::format("every value of one forward call is right; {} is the first way "
                                     "of running that differs: {}",
                                     stage_name(first.stage), stage_adds(first.stage));
    } else if (text_differs) {
      report_.outcome = Outcome::kDiverged;
      report_.headline = "every value is right, and the greedy text differs beyond the noise";
    } else if (report_.stopped() != nullptr) {
      report_.outcome = Outcome::kUndecided;
      report_.headline = "nothing differs in one forward call; stopped at " + report_.stopped()->name;
    } else {
      report_.outcome = report_.diff->outcome;
      report_.headline = report_.outcome == Outcome::kPass
                             ? "every value is the reference's, alone and in the whole run"
                             : "nothing differs, and too little was recorded to pass";
    }
    report_.next = next_command();
  }

  // The stage without which nothing can be said of the port.
  const DebugStage* blocked() const {
    const DebugStage* stopped = report_.stopped();
    if (stopped == nullptr || stopped->name == "explain" || stopped->name == "bisect") {
      return nullptr;
    }
    return stopped;
  }

  void decide_stopped(const DebugStage& stopped) {
    report_.outcome = Outcome::kUndecided;
    report_.headline = "stopped at " + stopped.name + ": " + stopped.result;
    const bool is_port = stopped.name == "load" || stopped.name == "dump";
    if (is_port && !options_.port_folder.empty()) {
      report_.next = fmt::format("lockstep gates {} --port-dir {}", options_.model,
                                 options_.port_folder);
    } else if (is_port) {
      report_.next = "lockstep graph " + options_.model;
    } else {
      for (const DiffFinding& finding : report_.diff ? report_.diff->findings : std::vector<DiffFinding>{}) {
        if (finding.level != Level::kRefusal) continue;
        report_.suspected.push_back(finding.code + ": " + finding.message +
                                    (finding.way_out.empty() ? "" : "; " + finding.way_out));
      }
      report_.next = fmt::format("lockstep reference {} --output DIR, mended as said", options_.model);
    }
  }

  bool differs_by_way() const {
    return report_.bisected && report_.bisected->first() != nullptr;
  }

  bool differs_in_text() const {
    return std::ranges::any_of(report_.greedy, [](const GreedyCheck& check) {
      return check.outcome == GreedyCheck::Outcome::kDiffers;
    });
  }

  void list_gaps() {
    std::vector<std::string>& gaps = report_.not_covered;
    std::vector<std::string> not_replayed;
    for (const IsolatedPort& port : report_.isolated) {
      std::ranges::copy(port.report.not_replayed, std::back_inserter(not_replayed));
    }
    // What explain could not judge is among these, or its own.
    for (const std::string& gap : report_.explained.not_covered) {
      if (std::ranges::find(not_replayed, gap) == not_replayed.end()) gaps.push_back(gap);
    }
    std::ranges::move(joined_gaps(not_replayed), std::back_inserter(gaps));
    if (report_.bisected) std::ranges::copy(report_.bisected->not_covered, std::back_inserter(gaps));
    if (report_.greedy.empty() && report_.stopped() == nullptr) {
      gaps.emplace_back("greedy text: the reference recorded none");
    }
  }

  void list_verified() {
    const Coverage& c = report_.diff->covered;
    size_t n = 0, n_clean = 0;
    for (const IsolatedPort& port : report_.isolated) {
      n += port.report.taps.size();
      n_clean += std::ranges::count_if(port.report.taps,
                                       [](const IsolatedTap& tap) { return !is_source(tap); });
    }
    report_.verified.push_back(fmt::format(
        "{} of {} values are right on the reference's own inputs ({})", n_clean, n,
        dtypes_of(*report_.port)));
    report_.verified.push_back(fmt::format(
        "{} compared, {} tokens at most: embedding {}, {} of {} layers, final norm {}, logits {}",
        counted(c.runs, "run"), c.tokens, c.embedding ? "yes" : "no", c.layers, c.layers_expected,
        c.final_norm ? "yes" : "no", c.logits ? "yes" : "no"));
    const ExplainReport& explained = report_.explained;
    if (!explained.faults.empty() && !explained.logits_run.empty() && explained.is_complete()) {
      report_.verified.push_back(
          fmt::format("all put right, the logits are off by {} (bar {}): nothing else is wrong in {}",
                      short_number(explained.logits_left), short_number(explained.logits_bar),
                      explained.logits_run));
    }
    if (report_.bisected) {
      std::vector<std::string_view> alike;
      for (const StageResult& stage : report_.bisected->stages) {
        if (stage.outcome == StageResult::Outcome::kSame) alike.push_back(stage_name(stage.stage));
      }
      if (!alike.empty()) {
        report_.verified.push_back(fmt::format("runs alike: {}", fmt::join(alike, ", ")));
      }
    }
    for (const GreedyCheck& check : report_.greedy) {
      if (check.outcome != GreedyCheck::Outcome::kSame) continue;
      report_.verified.push_back(fmt::format("greedy text of prompt {} in {}: all {} tokens",
                                             check.prompt, check.dtype, check.total));
    }
  }

  void list_suspected() {
    const ExplainReport& explained = report_.explained;
    if (const DebugStage* stopped = report_.stopped()) {
      report_.suspected.push_back(stopped->name + " stopped: " + stopped->result);
    }
    if (explained.faults.empty()) list_sources();
    for (const Fault& fault : explained.faults) {
      const SiteJudgement& judgement = fault.judgement;
      if (judgement.verdict == CauseVerdict::kAmbiguous) {
        report_.suspected.push_back(fault.path + ": " + judgement.ambiguity);
      } else if (judgement.verdict == CauseVerdict::kUndecided) {
        report_.suspected.push_back(fault.path + ": a fault that no cause of the catalogue gives");
      }
    }
    if (!explained.is_complete()) {
      report_.suspected.push_back(fmt::format(
          "something behind them: all put right, the logits are still off by {} (bar {})",
          short_number(explained.logits_left), short_number(explained.logits_bar)));
    }
    if (differs_by_way()) {
      for (const StageFinding& finding : report_.bisected->first()->findings) {
        std::string text = finding.probe + ": " + finding.message;
        if (finding.evidence && !finding.evidence->tensor.empty()) {
          text += fmt::format("; {} {}", kind_name(finding.evidence->kind), finding.evidence->tensor);
        }
        report_.suspected.push_back(std::move(text));
      }
    }
    for (const GreedyCheck& check : report_.greedy) {
      if (check.outcome == GreedyCheck::Outcome::kSame || has_sources()) continue;
      report_.suspected.push_back(fmt::format(
          "greedy text of prompt {} in {}: token {} is {}, expected {} ({})", check.prompt,
          check.dtype, check.tokens - 1, check.found, check.expected,
          check.outcome == GreedyCheck::Outcome::kTie ? "a tie" : "no tie"));
    }
  }

  void list_sources() {
    for (const IsolatedPort& port : report_.isolated) {
      for (const IsolatedTap& tap : port.report.taps) {
        if (!is_source(tap)) continue;
        report_.suspected.push_back(fmt::format("{} {}: off by {} on the reference's inputs, bar {}",
                                                tap.run, tap.path, short_number(tap.isolated),
                                                short_number(tap.bar)));
      }
    }
  }

  std::string next_command() const {
    const std::string port =
        options_.port_folder.empty() ? "" : " --custom-architectures " + options_.port_folder;
    const std::string reference = reference_.path.string();
    if (report_.outcome == Outcome::kPass) {
      return fmt::format("lockstep generate {}{} --prompt-ids 1,2,3", options_.model, port);
    }
    if (differs_by_way()) {
      return fmt::format("lockstep bisect {}{} --reference {} --stage {}", options_.model, port,
                         reference, stage_name(report_.bisected->first()->stage));
    }
    if (has_sources() && report_.n_named() > 0) {
      return fmt::format("lockstep verify {}{} --reference {}, after the change{}", options_.model,
                         port, reference, report_.explained.faults.size() > 1 ? "s" : "");
    }
    return fmt::format("lockstep reference {} --output DIR --detail --steps 2, then debug again",
                       options_.model);
  }

  const Recording& reference_;
  const DebugOptions& options_;
  OpenPort port_;
  DebugReport report_;
};

}  // namespace

size_t DebugReport::n_named() const {
  return static_cast<size_t>(std::ranges::count_if(explained.faults, [](const Fault& fault) {
    return fault.judgement.verdict != CauseVerdict::kUndecided;
  }));
}

const DebugStage* DebugReport::stopped() const {
  const auto at = std::ranges::find(stages, DebugStage::State::kStopped, &DebugStage::state);
  return at == stages.end() ? nullptr : &*at;
}

DebugReport debug(const Recording& reference, const std::function<OpenPort()>& open,
                  const DebugOptions& options) {
  return Protocol(reference, options).run(open);
}

}  // namespace lockstep::parity
