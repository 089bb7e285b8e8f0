#include "parity/greedy_texts.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include "parity/text_symptoms.h"

namespace lockstep::parity {
namespace {

/// Below it a choice between two logits of this dtype is the noise's: two logits of noise f each,
/// four deviations apart. 0 where no run says so.
double tie_bar(const DiffReport& report, const std::string& dtype) {
  double bar = 0;
  for (const RunDiff& run : report.runs) {
    if (run.dtype != dtype || !run.logits || !run.logits->floor) continue;
    const TapMetrics& m = run.logits->metrics;
    const double rms =
        std::sqrt(m.sums.rr / static_cast<double>(std::max<int64_t>(1, m.elements())));
    bar = std::max(bar, 4 * std::sqrt(2.0) * run.logits->floor->total * rms);
  }
  return bar;
}

std::vector<int64_t> prompt_ids(const Recording& recording, int prompt) {
  for (const Run& run : recording.runs) {
    if (run.info.prompt == prompt && run.info.phase == Phase::kPrefill) return run.info.prompt_ids;
  }
  return {};
}

void tell(const std::vector<TextSymptom>& symptoms, const std::string& where, DiffReport& report) {
  for (const TextSymptom& symptom : symptoms) {
    report.findings.push_back(
        {Level::kInfo, "symptom", where, "",
         fmt::format("{}: {}", symptom.symptom, fmt::join(symptom.candidates, "; or ")), ""});
  }
}

}  // namespace

void check_texts(const Recording& reference, const Recording& port, DiffReport& report) {
  std::vector<GreedyPair> all;
  bool differs = false;
  for (const GreedyInfo& own : port.greedy) {
    const auto other = std::find_if(
        reference.greedy.begin(), reference.greedy.end(), [&](const GreedyInfo& greedy) {
          return greedy.dtype == own.dtype && greedy.prompt == own.prompt;
        });
    const std::vector<int64_t> prompt = prompt_ids(reference, own.prompt);
    if (other == reference.greedy.end() || prompt != prompt_ids(port, own.prompt)) continue;
    all.push_back({prompt, other->tokens, own.tokens});
    const GreedyPair& pair = all.back();
    size_t at = 0;
    while (at < pair.reference.size() && at < pair.port.size() &&
           pair.reference[at] == pair.port[at]) {
      ++at;
    }
    if (at == std::min(pair.reference.size(), pair.port.size()) &&
        pair.reference.size() == pair.port.size()) {
      continue;
    }
    const std::string where = fmt::format("{} prompt {}", own.dtype, own.prompt);
    const bool has_margin = at < other->margins.size();
    const double bar = tie_bar(report, own.dtype);
    if (has_margin && other->margins[at] <= bar) {
      report.findings.push_back(
          {Level::kInfo, "text_tie", where, "",
           fmt::format(
               "token {} of the text differs where the reference's margin is {:.2g}, within "
               "the noise of {:.2g}: a tie; nothing after it is compared",
               at, other->margins[at], bar),
           ""});
      continue;
    }
    differs = true;
    report.findings.push_back(
        {Level::kDiverged, "text", where, "",
         fmt::format("token {} of the text differs{}", at,
                     has_margin
                         ? fmt::format(", the reference's margin there is {:.2g}, the noise {:.2g}",
                                       other->margins[at], bar)
                         : std::string()),
         "compare decode steps: `lockstep dump --like` records them"});
    tell(text_symptoms(pair), where, report);
  }
  if (differs) tell(length_symptoms(all), "", report);
}

}  // namespace lockstep::parity
