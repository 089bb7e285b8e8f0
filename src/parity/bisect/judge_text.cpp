#include "parity/bisect/judge_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "parity/bisect/rows.h"
#include "tensor/dtype.h"

namespace lockstep::parity {
namespace {

StageFinding finding_at(const DtypeCase& the_case, size_t text, int64_t token, const Probe& probe,
                        std::string against) {
  StageFinding finding;
  finding.probe = probe.name;
  finding.dtype = the_case.name;
  finding.prompt = the_case.texts[text].prompt;
  finding.token = token;
  // The row of the last prompt token chooses generated token 0.
  finding.step = token + 1 >= the_case.texts[text].n_prompt
                     ? token + 1 - the_case.texts[text].n_prompt
                     : -1;
  finding.against = std::move(against);
  return finding;
}

// Adds the finding, unless the tokens went elsewhere by near ties.
bool add(StageResult& result, StageFinding finding, const Probe& probe) {
  if (probe.is_rerouted && probe.is_rerouted(finding.token)) {
    result.not_covered.push_back(
        fmt::format("{} {} prompt {} from token {}: near ties sent tokens to other experts",
                    finding.dtype, finding.probe, finding.prompt, finding.token));
    return true;
  }
  if (probe.find_evidence) finding.evidence = probe.find_evidence(finding.token);
  result.outcome = StageResult::Outcome::kDiffers;
  result.findings.push_back(std::move(finding));
  return false;
}

void note_worst(StageResult& result, double difference, double bar) {
  if (bar > 0) result.worst = std::max(result.worst, difference / bar);
}

bool is_finite(const std::vector<float>& row) {
  return std::ranges::all_of(row, [](float x) { return std::isfinite(x); });
}

std::vector<float> row_of(const View& view, int64_t row) {
  std::vector<float> out(static_cast<size_t>(view.dim(-1)));
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = static_cast<float>(
        load_element(view.data, view.dtype,
                     row * view.stride[0] + static_cast<int64_t>(i) * view.stride[1]));
  }
  return out;
}

bool begins_with(const ReferenceText& text, const std::vector<int64_t>& ids) {
  return ids.size() <= text.ids.size() && std::equal(ids.begin(), ids.end(), text.ids.begin());
}

}  // namespace

int32_t choice_of(const std::vector<float>& row) noexcept {
  return static_cast<int32_t>(std::ranges::max_element(row) - row.begin());
}

double rms_of(const std::vector<float>& row) noexcept {
  double sum = 0;
  for (const float x : row) sum += double{x} * x;
  return std::sqrt(sum / static_cast<double>(std::max<size_t>(1, row.size())));
}

double logprob_of(const std::vector<float>& row, int32_t id) noexcept {
  const double most = *std::ranges::max_element(row);
  double sum = 0;
  for (const float x : row) sum += std::exp(x - most);
  return row[static_cast<size_t>(id)] - most - std::log(sum);
}

bool judge_rows(StageResult& result, const DtypeCase& the_case, size_t text,
                const TextLogits& rows, const Probe& probe) {
  const TextLogits& truth = the_case.at_once[text];
  ++result.probes;
  for (size_t t = 0; t < std::min(rows.size(), truth.size()); ++t) {
    ++result.tokens;
    const double difference = row_difference(truth[t], rows[t]);
    note_worst(result, difference, the_case.noise.row_bar);
    const int32_t expected = choice_of(truth[t]), found = choice_of(rows[t]);
    const double margin = double{truth[t][static_cast<size_t>(expected)]} -
                          truth[t][static_cast<size_t>(found)];
    const bool is_tie = expected == found || margin <= the_case.noise.logit(rms_of(truth[t]));
    result.ties += expected != found && is_tie;
    if (difference <= the_case.noise.row_bar && is_tie) continue;
    StageFinding finding =
        finding_at(the_case, text, static_cast<int64_t>(t), probe, "the text fed at once");
    finding.difference = difference;
    finding.bar = the_case.noise.row_bar;
    finding.message = expected == found
                          ? fmt::format("logits differ by {:.2g}, the choice is the same ({})",
                                        difference, expected)
                          : fmt::format("logits differ by {:.2g}: token {} for {}", difference,
                                        found, expected);
    return add(result, std::move(finding), probe);
  }
  return true;
}

bool judge_choices(StageResult& result, const DtypeCase& the_case, size_t text,
                   const TextLogits& rows, const Probe& probe) {
  const ReferenceText& own = the_case.texts[text];
  if (!own.has_choices) return true;
  const std::span<const int32_t> expected = own.generated();
  for (size_t i = 0; i < expected.size(); ++i) {
    const auto t = static_cast<size_t>(own.n_prompt) - 1 + i;
    if (t >= rows.size()) break;
    ++result.tokens;
    const int32_t found = choice_of(rows[t]);
    if (found == expected[i] && is_finite(rows[t])) continue;
    const double own_margin = double{rows[t][static_cast<size_t>(found)]} -
                              rows[t][static_cast<size_t>(expected[i])];
    const double margin = i < own.margins.size() ? own.margins[i] : own_margin;
    const double noise = the_case.noise.tie(rms_of(rows[t]));
    if (std::min(margin, own_margin) <= noise) {
      ++result.ties;
      continue;
    }
    StageFinding finding =
        finding_at(the_case, text, static_cast<int64_t>(t), probe, "the reference");
    finding.message = fmt::format(
        "token {} for {}; the reference's margin there is {:.3g}, the noise {:.3g}", found,
        expected[i], margin, noise);
    return add(result, std::move(finding), probe);
  }
  return true;
}

bool judge_reference(StageResult& result, const DtypeCase& the_case, size_t text,
                     const TextLogits& rows, const Recording& reference, Floors& floors,
                     const Probe& probe) {
  const ReferenceText& own = the_case.texts[text];
  for (const Run& any : reference.runs) {
    if (!any.logits || !begins_with(own, any.info.prompt_ids)) continue;
    const Run* truth = floors.truth_for(any.info, the_case.name);
    if (truth != &any) continue;
    const auto n = static_cast<int64_t>(any.info.prompt_ids.size());
    const int64_t n_rows = any.logits->view.dim(0);
    for (int64_t r = 0; r < n_rows; ++r) {
      const int64_t t = n - n_rows + r;
      if (t >= static_cast<int64_t>(rows.size())) break;
      const std::vector<float>& found = rows[static_cast<size_t>(t)];
      const std::vector<float> expected = row_of(any.logits->view, r);
      const double difference = row_difference(expected, found);
      ++result.tokens;
      note_worst(result, difference, the_case.noise.row_bar);
      if (difference <= the_case.noise.row_bar) continue;
      StageFinding finding = finding_at(the_case, text, t, probe, "the reference");
      finding.difference = difference;
      finding.bar = the_case.noise.row_bar;
      finding.message = fmt::format("logits differ by {:.2g} from {}: token {} for {}", difference,
                                    any.info.id, choice_of(found), choice_of(expected));
      return add(result, std::move(finding), probe);
    }
  }
  return true;
}

bool judge_answer(StageResult& result, const DtypeCase& the_case, size_t text, int64_t n_fed,
                  const EngineAnswer& answer, const Probe& probe) {
  const ReferenceText& own = the_case.texts[text];
  const TextLogits& truth = the_case.at_once[text];
  ++result.probes;
  if (answer.error) {
    StageFinding finding = finding_at(the_case, text, n_fed - 1, probe, "the text fed at once");
    finding.message = "the request failed: " + answer.error->message();
    result.outcome = StageResult::Outcome::kDiffers;
    result.findings.push_back(std::move(finding));
    return false;
  }
  for (size_t i = 0; i < answer.tokens.size(); ++i) {
    const auto t = static_cast<size_t>(n_fed) - 1 + i;
    if (t >= truth.size()) break;
    ++result.tokens;
    const std::vector<float>& row = truth[t];
    const double noise = the_case.noise.logit(rms_of(row));
    const int32_t found = answer.tokens[i], expected = choice_of(row);
    double apart = 0;
    if (i < answer.logprobs.size()) {
      for (const TokenLogprob& top : answer.logprobs[i].top) {
        const double d = std::abs(top.logprob - logprob_of(row, top.id));
        apart = std::isnan(d) ? INFINITY : std::max(apart, d);
      }
    }
    note_worst(result, apart, noise);
    const double margin =
        double{row[static_cast<size_t>(expected)]} - row[static_cast<size_t>(found)];
    if (apart <= noise && (found == expected || margin <= noise)) {
      if (found == expected && t + 1 < own.ids.size() && own.ids[t + 1] == found) continue;
      ++result.ties;  // from here on it is another text
      break;
    }
    StageFinding finding =
        finding_at(the_case, text, static_cast<int64_t>(t), probe, "the text fed at once");
    finding.message =
        found == expected
            ? fmt::format("log probabilities differ by {:.2g} (noise {:.2g}), the token is the "
                          "same ({})",
                          apart, noise, found)
            : fmt::format("token {} for {}; the margin there is {:.3g}, the noise {:.3g}", found,
                          expected, margin, noise);
    return add(result, std::move(finding), probe);
  }
  return true;
}

}  // namespace lockstep::parity
