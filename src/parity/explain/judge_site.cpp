#include "parity/explain/judge_site.h"

#include <algorithm>
#include <cmath>
#include <ranges>
#include <set>
#include <string_view>

#include "lockstep/error.h"

namespace lockstep::parity {
namespace {

// Of the energy of the effect.
constexpr double kExplained = 0.999;
// Where the effect is hardly above the bar, what is left may be noise alone: sound values are at
// most at 0.58 of their bar, and a repair that leaves less than that share of it is as good as one
// can be seen to be.
constexpr double kNoise = 0.6, kExplainedInNoise = 0.9;
// With more numbers fitted it describes the difference and does not explain it.
constexpr int kMostFitted = 2;

std::vector<std::string> split_words(std::string_view text) {
  std::vector<std::string> words;
  for (const auto part : std::views::split(text, ' ')) {
    if (!part.empty()) words.emplace_back(part.begin(), part.end());
  }
  return words;
}

bool is_about(const Cause& cause, const Site& site) {
  if (cause.ops == "*") return true;
  for (const std::string& op : split_words(cause.ops)) {
    for (const SiteStep& step : site.steps) {
      if (step.op == op) return true;
    }
  }
  return false;
}

Candidate weigh(const Cause& cause, Finding finding, const Site& site) {
  Candidate candidate{&cause, std::move(finding), false, 0};
  const double error = std::max(candidate.finding.port_error, candidate.finding.reference_error);
  if (!std::isfinite(error) || error < 0) return candidate;
  const double left = site.effect > 0 ? error / site.effect : 1;
  candidate.explained = std::isfinite(left) ? std::max(0.0, 1 - left * left) : 0;
  if (!std::isfinite(site.effect)) candidate.explained = error <= site.bar ? 1 : 0;
  const bool is_noise = error <= kNoise * site.bar && candidate.explained >= kExplainedInNoise;
  candidate.fits = error <= site.bar && candidate.finding.n_fitted <= kMostFitted &&
                   (candidate.explained >= kExplained || is_noise);
  return candidate;
}

bool is_better(const Candidate& a, const Candidate& b) {
  if (a.fits != b.fits) return a.fits;
  if (a.fits && a.finding.n_fitted != b.finding.n_fitted) {
    return a.finding.n_fitted < b.finding.n_fitted;
  }
  return a.explained > b.explained;
}

// Of entries with one id the best stays.
std::vector<Candidate> rank(std::vector<Candidate> candidates) {
  std::ranges::stable_sort(candidates, is_better);
  std::set<std::string_view> seen;
  std::erase_if(candidates, [&](const Candidate& c) { return !seen.insert(c.cause->id).second; });
  return candidates;
}

// One kind of fault told in two ways, by a formula and by a repair, is one.
bool is_same_cause(const Cause& a, const Cause& b) {
  return a.id == b.id || (a.row != 0 && a.row == b.row);
}

// Other causes that fit with no more fitted numbers than the best.
std::vector<const Candidate*> rivals_of_best(const std::vector<Candidate>& ranked) {
  std::vector<const Candidate*> rivals;
  for (size_t i = 1; i < ranked.size() && ranked[i].fits; ++i) {
    if (is_same_cause(*ranked[i].cause, *ranked[0].cause)) continue;
    if (ranked[i].finding.n_fitted <= ranked[0].finding.n_fitted) rivals.push_back(&ranked[i]);
  }
  return rivals;
}

std::vector<std::string> wanted(const Site& site, const std::vector<Cause>& causes) {
  std::vector<std::string> found;
  for (const Cause& cause : causes) {
    if (!is_about(cause, site)) continue;
    for (const std::string& name : split_words(cause.taps)) {
      const auto has_name = [&](const std::string& path) { return path.ends_with(name); };
      if (std::ranges::any_of(site.tap_paths(), has_name)) continue;
      if (std::ranges::find(found, name) == found.end()) found.push_back(name);
    }
  }
  return found;
}

}  // namespace

SiteJudgement judge_site(const Site& site, const std::vector<Cause>& causes) {
  std::vector<Candidate> candidates;
  for (const Cause& cause : causes) {
    if (!is_about(cause, site)) continue;
    try {
      for (Finding& finding : cause.evaluate(site)) {
        candidates.push_back(weigh(cause, std::move(finding), site));
      }
    } catch (const Error&) {
      continue;  // a formula that does not take these shapes is no explanation of them
    }
  }
  SiteJudgement judgement;
  judgement.ranked = rank(std::move(candidates));
  if (judgement.ranked.empty() || !judgement.ranked.front().fits) {
    judgement.wanted = wanted(site, causes);
    return judgement;
  }
  const Candidate& best = judgement.ranked.front();
  const std::vector<const Candidate*> rivals = rivals_of_best(judgement.ranked);
  const bool is_class = !best.cause->ambiguity.empty();
  if (rivals.empty() && !is_class) {
    judgement.verdict = CauseVerdict::kConfirmed;
    return judgement;
  }
  judgement.verdict = CauseVerdict::kAmbiguous;
  judgement.ambiguity = best.cause->ambiguity;
  for (const Candidate* rival : rivals) {
    if (is_class && rival->cause->ambiguity == best.cause->ambiguity) continue;
    judgement.ambiguity += (judgement.ambiguity.empty() ? std::string(best.cause->name) : "") +
                           " or " + std::string(rival->cause->name);
  }
  return judgement;
}

}  // namespace lockstep::parity
