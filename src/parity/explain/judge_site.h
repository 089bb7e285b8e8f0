// From evidence to a verdict on one site.
#pragma once

#include <string>
#include <vector>

#include "parity/explain/cause.h"

namespace lockstep::parity {

/// A finding, and whether it is one: both of its errors within the site's bar, of the energy of the
/// effect at least 99.9 % explained, and at most two numbers fitted.
struct Candidate {
  const Cause* cause = nullptr;
  Finding finding;
  bool fits = false;
  double explained = 0;  // 1 - (worse of both errors / effect)^2, at least 0
};

enum class CauseVerdict : uint8_t {
  kConfirmed,  // one fits, no rival of another class does
  kAmbiguous,  // several fit that the numbers cannot tell apart
  kUndecided,  // nothing fits
};

struct SiteJudgement {
  CauseVerdict verdict = CauseVerdict::kUndecided;
  /// Those that fit first, of these the ones with the fewest fitted numbers, then by what they
  /// explain: the first is the answer, the next the best rival.
  std::vector<Candidate> ranked;
  /// Where ambiguous: between what, in words.
  std::string ambiguity;
  /// Where undecided: values to record that would decide.
  std::vector<std::string> wanted;
};

/// Asks `causes` (default: the whole catalogue) about `site`. A cause that throws is left out.
SiteJudgement judge_site(const Site& site, const std::vector<Cause>& causes = catalogue());

}  // namespace lockstep::parity
