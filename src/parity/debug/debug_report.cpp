#include "parity/debug/debug_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "parity/bisect/report.h"
#include "parity/explain/explain_report.h"
#include "parity/format.h"

namespace lockstep::parity {
namespace {

// Lines of a screen, shared out.
constexpr size_t kShownFaults = 3, kShownItems = 3;

using Json = nlohmann::ordered_json;

class Text {
 public:
  Text(const Recording& reference, const DebugReport& report, const DebugTextOptions& options)
      : reference_(reference), report_(report), options_(options) {}

  std::string render() {
    verdict();
    faults();
    list("verified", report_.verified);
    list("suspected", report_.suspected);
    list("not covered", report_.not_covered);
    stages();
    return std::move(out_);
  }

 private:
  void line(const std::string& text, size_t indent) { out_ += wrapped(text, indent) + "\n"; }

  std::string coloured(const std::string& text, int colour) const {
    return options_.colour ? fmt::format("\033[{}m{}\033[0m", colour, text) : text;
  }

  void verdict() {
    const bool pass = report_.outcome == Outcome::kPass;
    const int colour = pass ? 32 : report_.outcome == Outcome::kDiverged ? 31 : 33;
    std::string word(outcome_name(report_.outcome));
    for (char& c : word) c = static_cast<char>(c - 'a' + 'A');
    line(coloured(word, colour) + ": " + printable(report_.headline), 2);
    line(printable(fmt::format("{} ({}) against {}", reference_.model, reference_.architecture,
                               reference_.path.string())),
         2);
    if (!report_.since.empty()) {
      line("since the last edit: " + printable(report_.since), 2);
    }
  }

  void faults() {
    const std::vector<Fault>& faults = report_.explained.faults;
    for (size_t i = 0; i < std::min(faults.size(), kShownFaults); ++i) {
      const Fault& fault = faults[i];
      line(fmt::format("{}. {}  {}", i + 1, coloured(printable(fault.path), 31),
                       certainty_of(fault)),
           3);
      field("in", place_of(fault));
      field("cause", cause_of(fault));
      field("number", evidence_of(fault));
      field("source", fault.source);
      if (fault.judgement.verdict != CauseVerdict::kUndecided) {
        field("change", fault.judgement.ranked.front().finding.change);
      }
    }
    if (faults.size() > kShownFaults) {
      line(fmt::format("and {} more, {} first: --json or --html shows them",
                       faults.size() - kShownFaults, printable(faults[kShownFaults].path)),
           3);
    }
  }

  void field(const char* name, const std::string& text) {
    if (!text.empty()) line(fmt::format("   {:<7} {}", name, printable(text)), 11);
  }

  void list(const std::string& name, const std::vector<std::string>& items) {
    for (size_t i = 0; i < std::min(items.size(), kShownItems); ++i) {
      std::string text = fmt::format("{:<13}{}", i == 0 ? name + ":" : "", printable(items[i]));
      // One line each: the other reports have the rest.
      if (text.size() > kReportColumns) text = text.substr(0, kReportColumns - 3) + "...";
      out_ += text + "\n";
    }
    if (items.size() > kShownItems) {
      out_ += fmt::format("{:<13}and {} more\n", "", items.size() - kShownItems);
    }
  }

  void stages() {
    std::string text = "stages:      ";
    double seconds = 0;
    uint64_t peak = 0;
    for (const DebugStage& stage : report_.stages) {
      seconds += stage.cost.seconds;
      peak = std::max(peak, stage.cost.peak_bytes);
      if (stage.state == DebugStage::State::kSkipped) {
        text += stage.name + " left out, ";
      } else {
        text += fmt::format("{} {:.2f} s, ", stage.name, stage.cost.seconds);
      }
    }
    line(fmt::format("{}{:.2f} s in all, {} MiB at most", text, seconds, peak >> 20), 13);
  }

  const Recording& reference_;
  const DebugReport& report_;
  const DebugTextOptions& options_;
  std::string out_;
};

Json stage_json(const DebugStage& stage) {
  constexpr const char* kStates[] = {"done", "skipped", "stopped"};
  return {{"stage", stage.name},
          {"state", kStates[static_cast<int>(stage.state)]},
          {"result", stage.result},
          {"seconds", stage.cost.seconds},
          {"cpu_seconds", stage.cost.cpu_seconds},
          {"peak_bytes", stage.cost.peak_bytes}};
}

Json finding_json(const DiffFinding& finding) {
  return {{"level", level_name(finding.level)}, {"code", finding.code},
          {"run", finding.run},                 {"tap", finding.tap},
          {"message", finding.message},         {"way_out", finding.way_out}};
}

Json covered_json(const DebugReport& report) {
  Json covered = Json::object();
  if (report.diff) {
    const Coverage& c = report.diff->covered;
    covered = {{"runs", c.runs},
               {"taps", c.taps},
               {"tokens", c.tokens},
               {"embedding", c.embedding},
               {"layers", c.layers},
               {"layers_expected", c.layers_expected},
               {"final_norm", c.final_norm},
               {"logits", c.logits}};
  }
  size_t n = 0;
  for (const IsolatedPort& port : report.isolated) n += port.report.taps.size();
  covered["isolated_values"] = n;
  return covered;
}

}  // namespace

const char* certainty_of(const Fault& fault) {
  switch (fault.judgement.verdict) {
    case CauseVerdict::kConfirmed:
      return "confirmed";
    case CauseVerdict::kAmbiguous:
      return "ambiguous";
    case CauseVerdict::kUndecided:
      break;
  }
  return "undecided";
}

std::string place_of(const Fault& fault) {
  std::string text = fault.ops;
  if (!fault.module_class.empty()) text += " in " + fault.module_class;
  if (fault.paths.size() > 1) text += fmt::format("; {} places", fault.paths.size());
  if (fault.layers.size() > 1) text += ", layers " + ranges_of(fault.layers);
  return text;
}

std::string cause_of(const Fault& fault) {
  const SiteJudgement& judgement = fault.judgement;
  if (judgement.verdict == CauseVerdict::kUndecided) {
    return "none of the catalogue gives these numbers";
  }
  const Candidate& best = judgement.ranked.front();
  std::string text = fmt::format("{}: {}", best.cause->name, best.finding.what);
  if (!judgement.ambiguity.empty()) {
    text += "; the numbers cannot tell apart: " + judgement.ambiguity;
  }
  return text;
}

std::string evidence_of(const Fault& fault) {
  const SiteJudgement& judgement = fault.judgement;
  std::string text = fmt::format("off by {} on the reference's own inputs (bar {})",
                                 short_number(fault.isolated), short_number(fault.bar));
  const bool decided = judgement.verdict != CauseVerdict::kUndecided;
  if (decided) {
    text += fmt::format("; {:.5g} % of it explained, {} left",
                        100 * judgement.ranked.front().explained,
                        short_number(judgement.ranked.front().finding.reference_error));
  }
  if (const size_t next = decided ? 1 : 0; judgement.ranked.size() > next) {
    const Candidate& rival = judgement.ranked[next];
    text += fmt::format("; {} {}: {:.3g} %", decided ? "next" : "nearest", rival.cause->name,
                        100 * rival.explained);
  }
  if (!std::isnan(fault.logits_before)) {
    text += fmt::format("; logits {} off, {} once put right", short_number(fault.logits_before),
                        short_number(fault.logits_after));
  }
  return text;
}

std::string debug_text(const Recording& reference, const DebugReport& report,
                       const DebugTextOptions& options) {
  return Text(reference, report, options).render();
}

std::string debug_json(const Recording& reference, const DebugReport& report) {
  Json stages = Json::array(), findings = Json::array();
  for (const DebugStage& stage : report.stages) stages.push_back(stage_json(stage));
  if (report.diff) {
    for (const DiffFinding& finding : report.diff->findings) findings.push_back(finding_json(finding));
  }
  Json greedy = Json::array();
  constexpr const char* kText[] = {"same", "tie", "differs"};
  for (const GreedyCheck& check : report.greedy) {
    greedy.push_back({{"dtype", check.dtype},
                      {"prompt", check.prompt},
                      {"tokens", check.tokens},
                      {"total", check.total},
                      {"outcome", kText[static_cast<int>(check.outcome)]}});
  }
  Json bisect = nullptr;
  if (report.bisected) bisect = Json::parse(bisect_json(*report.bisected, nullptr, ""));
  const Json document = {{"verdict", outcome_name(report.outcome)},
                         {"headline", report.headline},
                         {"model", reference.model},
                         {"architecture", reference.architecture},
                         {"reference", reference.path.string()},
                         {"covered", covered_json(report)},
                         {"not_covered", report.not_covered},
                         {"verified", report.verified},
                         {"suspected", report.suspected},
                         {"faults", Json::parse(explain_json(report.explained))["findings"]},
                         {"findings", findings},
                         {"greedy", greedy},
                         {"bisect", bisect},
                         {"since_last_run", report.since},
                         {"stages", stages},
                         {"next", report.next}};
  return document.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace lockstep::parity
