#include "parity/bisect/report.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

namespace lockstep::parity {
namespace {

using Json = nlohmann::ordered_json;
constexpr size_t kColumns = 100;
constexpr size_t kShownNotCovered = 6;

// `text` behind `label`, at most kColumns wide, further lines indented as the first.
std::string wrapped(const std::string& label, const std::string& text) {
  std::string out = label;
  size_t column = label.size();
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    if (column + 1 + word.size() > kColumns && column > label.size()) {
      out += '\n';
      out.append(label.size(), ' ');
      column = label.size();
    } else if (column > label.size()) {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
    begin = end + 1;
  }
  return out + "\n";
}

std::string place_of(const StageFinding& finding) {
  std::string place;
  if (finding.prompt >= 0) place += fmt::format("prompt {}", finding.prompt);
  if (finding.token >= 0) {
    place += fmt::format("{}token {}", place.empty() ? "" : ", ", finding.token);
  }
  if (finding.step >= 0) place += fmt::format(" (step {})", finding.step);
  if (!finding.dtype.empty()) {
    place += fmt::format("{}{}", place.empty() ? "" : ", ", finding.dtype);
  }
  return place;
}

std::string finding_text(const StageFinding& finding) {
  std::string text = wrapped("  found in:  ", fmt::format("{}; {}", finding.probe, place_of(finding)));
  text += wrapped("  against:   ", finding.against);
  text += wrapped("  found:     ", finding.message);
  if (!finding.evidence) return text;
  const StepEvidence& evidence = *finding.evidence;
  if (!evidence.tensor.empty()) text += wrapped("  first differs: ", evidence.tensor);
  for (const std::string& line : evidence.lines) text += wrapped("    - ", line);
  return text + wrapped("  look at:   ", evidence.look_at);
}

Json finite(double x) { return std::isfinite(x) ? Json(x) : Json(nullptr); }

Json finding_json(const StageResult& stage, const StageFinding& finding) {
  Json out = {{"stage", stage_name(stage.stage)}, {"probe", finding.probe},
              {"dtype", finding.dtype},           {"prompt", finding.prompt},
              {"token", finding.token},           {"step", finding.step},
              {"against", finding.against},       {"message", finding.message},
              {"difference", finite(finding.difference)}, {"bar", finite(finding.bar)}};
  if (finding.evidence) {
    out["evidence"] = {{"kind", kind_name(finding.evidence->kind)},
                       {"tensor", finding.evidence->tensor},
                       {"measured", finding.evidence->lines},
                       {"look_at", finding.evidence->look_at}};
  }
  return out;
}



}  // namespace

std::string bisect_text(const BisectReport& report) {
  std::string text =
      fmt::format("{:<16} {:<9} {:>6} {:>8} {:>6} {:>12}\n", "stage", "outcome", "probes", "tokens",
                  "ties", "worst/bar");
  for (const StageResult& stage : report.stages) {
    text += fmt::format("{:<16} {:<9} {:>6} {:>8} {:>6} {:>12.2g}\n", stage_name(stage.stage),
                        stage_outcome_name(stage.outcome), stage.probes, stage.tokens, stage.ties,
                        stage.worst);
  }
  if (const StageResult* first = report.first()) {
    text += fmt::format("\nDIVERGED: {} is the first stage that differs\n", stage_name(first->stage));
    text += wrapped("  it adds:   ", std::string(stage_adds(first->stage)));
    text += finding_text(first->findings.front());
    if (first->findings.size() > 1) {
      text += fmt::format("  and {} more findings in this stage (--json lists them)\n",
                          first->findings.size() - 1);
    }
  } else if (report.outcome == Outcome::kPass) {
    text += "\nPASS: no stage differs\n";
  } else {
    text += "\nUNDECIDED: too little was recorded, or could be run\n";
  }
  if (!report.not_covered.empty()) text += "not covered:\n";
  for (size_t i = 0; i < std::min(kShownNotCovered, report.not_covered.size()); ++i) {
    text += wrapped("  - ", report.not_covered[i]);
  }
  if (report.not_covered.size() > kShownNotCovered) {
    text += fmt::format("  - and {} more (--json lists them)\n",
                        report.not_covered.size() - kShownNotCovered);
  }
  return text;
}

std::string control_text(const Control& control) {
  return wrapped("control: ", fmt::format("{}: {}", control_name(control.verdict), control.why));
}

std::string bisect_json(const BisectReport& report, const Control* control,
                        const std::string& repro) {
  Json stages = Json::array(), findings = Json::array();
  int64_t probes = 0, tokens = 0;
  for (const StageResult& stage : report.stages) {
    probes += stage.probes;
    tokens += stage.tokens;
    stages.push_back({{"stage", stage_name(stage.stage)},
                      {"outcome", stage_outcome_name(stage.outcome)},
                      {"adds", stage_adds(stage.stage)},
                      {"probes", stage.probes},
                      {"tokens", stage.tokens},
                      {"ties", stage.ties},
                      {"worst", finite(stage.worst)},
                      {"not_covered", stage.not_covered}});
    for (const StageFinding& finding : stage.findings) {
      findings.push_back(finding_json(stage, finding));
    }
  }
  const StageResult* first = report.first();
  Json out = {{"verdict", outcome_name(report.outcome)},
              {"first_stage", first == nullptr ? Json(nullptr) : Json(stage_name(first->stage))},
              {"covered", {{"probes", probes}, {"tokens", tokens}}},
              {"not_covered", report.not_covered},
              {"findings", std::move(findings)},
              {"stages", std::move(stages)},
              {"repro", repro.empty() ? Json(nullptr) : Json(repro)}};
  if (control != nullptr) {
    out["control"] = {{"verdict", control_name(control->verdict)}, {"why", control->why}};
  }
  return out.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace lockstep::parity
