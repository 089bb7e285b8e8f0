#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "parity/debug/debug_report.h"
#include "parity/format.h"
#include "parity/html/diff_page.h"
#include "parity/html/html.h"

namespace lockstep::parity {
namespace {

// Rivals of one fault that are told.
constexpr size_t kShownRivals = 4;

std::string row(const char* name, const std::string& value, const char* class_name = "") {
  if (value.empty()) return {};
  return element("dt", "", name) + element("dd", class_name, value) + "\n";
}

std::string measured_html(const Fault& fault) {
  if (fault.judgement.ranked.empty()) return {};
  const std::vector<Measured>& measured = fault.judgement.ranked.front().finding.measured;
  if (measured.empty() || fault.judgement.verdict == CauseVerdict::kUndecided) return {};
  std::string out =
      "<div class=\"scroll\"><table><tr><th>measured</th><th>port</th><th>reference</th></tr>\n";
  for (const Measured& m : measured) {
    out += "<tr>" + element("td", "", m.name) + element("td", "bad-text", m.port) +
           element("td", "good-text", m.reference) + "</tr>\n";
  }
  return out + "</table></div>\n";
}

std::string rivals_html(const Fault& fault) {
  const std::vector<Candidate>& ranked = fault.judgement.ranked;
  const size_t first = fault.judgement.verdict == CauseVerdict::kUndecided ? 0 : 1;
  if (ranked.size() <= first) return {};
  std::string out =
      "<div class=\"scroll\"><table><tr><th>other causes tried</th><th class=\"n\">explains</th>"
      "<th>fits</th></tr>\n";
  for (size_t i = first; i < std::min(ranked.size(), first + kShownRivals); ++i) {
    out += fmt::format("<tr>{}<td class=\"n\">{:.4g} %</td><td>{}</td></tr>\n",
                       element("td", "", fmt::format("{}: {}", ranked[i].cause->name,
                                                     ranked[i].finding.what)),
                       100 * ranked[i].explained, ranked[i].fits ? "yes" : "no");
  }
  return out + "</table></div>\n";
}

const char* badge_class(const Fault& fault) {
  return fault.judgement.verdict == CauseVerdict::kConfirmed ? "badge good-text"
                                                              : "badge open-text";
}

// What must be seen at once stands outside the details.
std::string fault_html(size_t number, const Fault& fault) {
  std::string change;
  if (fault.judgement.verdict != CauseVerdict::kUndecided) {
    change = fault.judgement.ranked.front().finding.change;
  } else if (!fault.judgement.wanted.empty()) {
    change = fmt::format("record with --detail: {}", fmt::join(fault.judgement.wanted, ", "));
  }
  std::string details = "<dl>\n" + row("number", evidence_of(fault)) + row("judged in", fault.run);
  if (fault.paths.size() > 1) {
    details += row("places", fmt::format("{}", fmt::join(fault.paths, ", ")), "path");
  }
  details += "</dl>\n" + measured_html(fault) + rivals_html(fault);
  return fmt::format(
      "<li id=\"fault-{0}\"><span class=\"small\">{0}.</span> <span class=\"path\">{1}</span> "
      "<span class=\"{2}\">{3}</span>\n<dl>\n{4}{5}{6}{7}</dl>\n"
      "<details><summary>numbers</summary>\n{8}</details>\n</li>\n",
      number, escape_html(fault.path), badge_class(fault), certainty_of(fault),
      row("cause", cause_of(fault)), row("change", change), row("source", fault.source, "path"),
      row("in", place_of(fault)), details);
}

std::string faults_html(const DebugReport& report) {
  const std::vector<Fault>& faults = report.explained.faults;
  if (faults.empty()) return {};
  std::string out = "<ol class=\"guilty\">\n";
  for (size_t i = 0; i < faults.size(); ++i) out += fault_html(i + 1, faults[i]);
  return out + "</ol>\n";
}

std::string stages_html(const DebugReport& report) {
  std::string out =
      "<section><h2>Stages</h2>\n<div class=\"scroll\"><table><tr><th>stage</th>"
      "<th class=\"n\">seconds</th><th class=\"n\">processor</th><th class=\"n\">memory</th>"
      "<th>found</th></tr>\n";
  for (const DebugStage& stage : report.stages) {
    const bool ran = stage.state != DebugStage::State::kSkipped;
    const auto number = [&](const std::string& text) {
      return "<td class=\"n\">" + (ran ? text : std::string("-")) + "</td>";
    };
    out += "<tr>" + element("td", "", stage.name) +
           number(fmt::format("{:.2f}", stage.cost.seconds)) +
           number(fmt::format("{:.2f}", stage.cost.cpu_seconds)) +
           number(fmt::format("{} MiB", stage.cost.peak_bytes >> 20)) +
           element("td", stage.state == DebugStage::State::kStopped ? "open-text name" : "name",
                   ran ? stage.result : "left out: " + stage.result) +
           "</tr>\n";
  }
  return out + "</table></div></section>\n";
}

std::string ways_html(const DebugReport& report) {
  if (!report.bisected) return {};
  std::string out =
      "<section><h2>Ways of running</h2>\n<div class=\"scroll\"><table><tr><th>way</th>"
      "<th>outcome</th><th class=\"n\">tokens</th><th>found</th></tr>\n";
  for (const StageResult& stage : report.bisected->stages) {
    const bool differs = stage.outcome == StageResult::Outcome::kDiffers;
    std::string found(stage_adds(stage.stage));
    if (differs) found = stage.findings.front().probe + ": " + stage.findings.front().message;
    out += "<tr>" + element("td", "", stage_name(stage.stage)) +
           element("td", differs ? "bad-text" : "", stage_outcome_name(stage.outcome)) +
           fmt::format("<td class=\"n\">{}</td>", stage.tokens) + element("td", "name", found) +
           "</tr>\n";
  }
  return out + "</table></div></section>\n";
}

Marks marks_of(const DebugReport& report) {
  Marks marks;
  for (const IsolatedPort& port : report.isolated) {
    const std::string dtype(dtype_name(port.pipeline->graph().activation_dtype));
    for (const IsolatedTap& tap : port.report.taps) {
      const std::string path = tap.path.substr(0, tap.path.find(":input"));
      if (tap.verdict == IsolatedTap::Verdict::kSource) marks.sources.insert(path);
      const std::string depth = depth_of(path);
      if (depth.empty() || !std::isfinite(tap.isolated)) continue;
      double& worst = marks.isolated[{dtype, depth}];
      worst = std::max(worst, tap.isolated);
    }
  }
  return marks;
}

}  // namespace

std::string debug_page(const Recording& reference, const DebugReport& report) {
  std::string body = verdict_html(report.outcome, report.headline, reference);
  if (!report.since.empty()) {
    body += element("p", "small", "since the last edit: " + report.since) + "\n";
  }
  body += faults_html(report);
  body += list_html("Verified", report.verified);
  body += list_html("Still suspected", report.suspected);
  if (!report.next.empty()) {
    body += "<p><span class=\"small\">next:</span> " + element("code", "", report.next) + "</p>\n";
  }
  if (report.diff && report.diff->valid) body += comparison_html(*report.diff, marks_of(report));
  body += ways_html(report);
  body += stages_html(report);
  body += list_html("Not covered", report.not_covered);
  return html_page(verdict_word(report.outcome) + " " + reference.model, body);
}

}  // namespace lockstep::parity
