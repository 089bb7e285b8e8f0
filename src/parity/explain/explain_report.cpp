#include "parity/explain/explain_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "parity/format.h"

namespace lockstep::parity {
namespace {

constexpr size_t kColumns = 100, kShownGaps = 4;

const char* verdict_name(CauseVerdict verdict) {
  switch (verdict) {
    case CauseVerdict::kConfirmed:
      return "confirmed";
    case CauseVerdict::kAmbiguous:
      return "ambiguous";
    case CauseVerdict::kUndecided:
      return "undecided";
  }
  return "";
}

// `text` after `indent`, broken at spaces; lines after the first stand two columns deeper.
std::string wrapped(const std::string& indent, const std::string& text) {
  std::string out, line = indent;
  size_t begin = 0;
  while (begin < text.size()) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    if (line.size() + word.size() + 1 > kColumns && line.size() > indent.size() + 2) {
      out += line + "\n";
      line = indent + "  ";
    }
    line += (line.find_last_not_of(' ') == std::string::npos ? "" : " ") + word;
    begin = end + 1;
  }
  return out + line + "\n";
}

std::string evidence(const Candidate& candidate) {
  const Finding& finding = candidate.finding;
  std::string text =
      fmt::format("explains {:.5g} % of the difference; ", 100 * candidate.explained);
  if (finding.port_error > 0) {
    text += fmt::format("so computed it is the port to {:.1e}, ", finding.port_error);
  }
  text += fmt::format("put right it is the reference to {:.1e}", finding.reference_error);
  if (finding.n_fitted > 0) text += "; " + counted(finding.n_fitted, "number") + " fitted";
  return text;
}

std::string cause_text(const Fault& fault, size_t n_rivals) {
  const SiteJudgement& judgement = fault.judgement;
  std::string out;
  if (judgement.verdict == CauseVerdict::kUndecided) {
    out += wrapped("   ", "UNDECIDED: no cause of the catalogue gives these numbers");
    if (!judgement.wanted.empty()) {
      out += wrapped("   ", fmt::format("would decide: the reference recorded with --detail ({})",
                                        fmt::join(judgement.wanted, ", ")));
    }
  } else {
    const Candidate& best = judgement.ranked.front();
    out += wrapped("   ", fmt::format("{}: {}", best.cause->name, best.finding.what));
    out += wrapped("   ", evidence(best));
    if (!judgement.ambiguity.empty()) {
      out += wrapped("   ", "the numbers cannot tell apart: " + judgement.ambiguity);
    }
    if (!best.finding.change.empty()) out += wrapped("   ", "change: " + best.finding.change);
  }
  const bool decided = judgement.verdict != CauseVerdict::kUndecided;
  for (size_t i = decided ? 1 : 0; i < judgement.ranked.size(); ++i) {
    if (i >= n_rivals + (decided ? 1 : 0)) break;
    const Candidate& rival = judgement.ranked[i];
    out += wrapped("   ", fmt::format("rival: {} ({}): {}", rival.cause->name,
                                      rival.fits ? "fits too" : "does not fit", evidence(rival)));
  }
  return out;
}

std::string fault_text(size_t number, const Fault& fault, size_t n_rivals) {
  std::string out = fmt::format("{}. {}\n", number, fault.path);
  std::string place = fmt::format("{}, {}", fault.module_class, fault.ops);
  if (fault.paths.size() > 1) place += fmt::format("; {} places", fault.paths.size());
  if (fault.layers.size() > 1) place += ", layers " + ranges_of(fault.layers);
  out += wrapped("   ", place);
  out +=
      wrapped("   ", fmt::format("off by {:.2g} on the reference's own inputs (bar {:.1g}), in {}",
                                 fault.isolated, fault.bar, fault.run));
  if (!fault.source.empty()) out += fmt::format("   called at {}\n", fault.source);
  out += cause_text(fault, n_rivals);
  if (!std::isnan(fault.logits_before)) {
    out += wrapped("   ", fmt::format("put right, the logits are off by {:.2g} instead of {:.2g}",
                                      fault.logits_after, fault.logits_before));
  }
  return out + "\n";
}

nlohmann::json number_or_null(double x) {
  return std::isfinite(x) ? nlohmann::json(x) : nlohmann::json(nullptr);
}

nlohmann::json candidate_json(const Candidate& candidate) {
  nlohmann::json measured = nlohmann::json::array();
  for (const Measured& m : candidate.finding.measured) {
    measured.push_back({{"name", m.name}, {"port", m.port}, {"reference", m.reference}});
  }
  return {{"cause", candidate.cause->id},
          {"row", candidate.cause->row},
          {"name", candidate.cause->name},
          {"what", candidate.finding.what},
          {"change", candidate.finding.change},
          {"measured", measured},
          {"fits", candidate.fits},
          {"explained", candidate.explained},
          {"port_error", number_or_null(candidate.finding.port_error)},
          {"reference_error", number_or_null(candidate.finding.reference_error)},
          {"fitted", candidate.finding.n_fitted}};
}

nlohmann::json fault_json(const Fault& fault) {
  nlohmann::json candidates = nlohmann::json::array();
  for (const Candidate& candidate : fault.judgement.ranked) {
    candidates.push_back(candidate_json(candidate));
  }
  return {{"path", fault.path},
          {"paths", fault.paths},
          {"layers", fault.layers},
          {"class", fault.module_class},
          {"ops", fault.ops},
          {"run", fault.run},
          {"runs", fault.n_runs},
          {"isolated", number_or_null(fault.isolated)},
          {"bar", fault.bar},
          {"source", fault.source},
          {"verdict", verdict_name(fault.judgement.verdict)},
          {"ambiguity", fault.judgement.ambiguity},
          {"wanted", fault.judgement.wanted},
          {"causes", candidates},
          {"logits_before", number_or_null(fault.logits_before)},
          {"logits_after", number_or_null(fault.logits_after)}};
}

std::string stack_text(const ExplainReport& report) {
  if (report.logits_run.empty()) return "";
  if (report.is_complete()) {
    return wrapped("",
                   fmt::format("all put right, the logits of {} are off by {:.2g}: inside {:.1g}",
                               report.logits_run, report.logits_left, report.logits_bar));
  }
  return wrapped("", fmt::format("all put right, the logits of {} are still off by {:.2g} (bar "
                                 "{:.1g}): something is missing that no recorded value shows",
                                 report.logits_run, report.logits_left, report.logits_bar));
}

}  // namespace

int explain_status(const ExplainReport& report) {
  if (!report.faults.empty() || !report.is_complete()) return 1;
  return report.n_values == 0 ? 2 : 0;
}

std::string explain_text(const ExplainReport& report, size_t n_rivals) {
  std::string out;
  for (size_t i = 0; i < report.faults.size(); ++i) {
    out += fault_text(i + 1, report.faults[i], n_rivals);
  }
  out += stack_text(report);
  if (!report.not_covered.empty()) {
    out += fmt::format("not covered: {}\n", report.not_covered.size());
    for (size_t i = 0; i < std::min(kShownGaps, report.not_covered.size()); ++i) {
      out += wrapped("  -", report.not_covered[i]);
    }
  }
  const auto n_named = std::ranges::count_if(report.faults, [](const Fault& fault) {
    return fault.judgement.verdict != CauseVerdict::kUndecided;
  });
  constexpr const char* kWords[] = {"NOTHING WRONG", "FAULTS FOUND", "UNDECIDED"};
  return out + fmt::format("{}: {}, {} with a cause, of {} values\n",
                           kWords[explain_status(report)], counted(report.faults.size(), "fault"),
                           n_named, report.n_values);
}

std::string explain_json(const ExplainReport& report) {
  nlohmann::json findings = nlohmann::json::array();
  for (const Fault& fault : report.faults) findings.push_back(fault_json(fault));
  constexpr const char* kVerdicts[] = {"pass", "diverged", "undecided"};
  return nlohmann::json{{"verdict", kVerdicts[explain_status(report)]},
                        {"covered",
                         {{"values", report.n_values},
                          {"logits_run", report.logits_run},
                          {"logits_left", number_or_null(report.logits_left)},
                          {"logits_bar", report.logits_bar},
                          {"complete", report.is_complete()}}},
                        {"not_covered", report.not_covered},
                        {"findings", findings}}
      .dump();
}

}  // namespace lockstep::parity
