#include "parity/judge.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace lockstep::parity {

Bands bands_for(int64_t elements, bool strict) noexcept {
  Bands bands;
  if (elements < 1000) bands = {2.0, 4.0};
  if (elements < 100) bands = {3.0, 6.0};
  if (strict) bands.diverged = bands.watch;
  return bands;
}

double one_rounding(const std::string& dtype) noexcept {
  if (dtype == "bfloat16") return 1.66e-3;
  if (dtype == "float16") return 2.1e-4;
  return 2.5e-8;
}

double token_band(const TapDiff& tap) {
  const int64_t tokens = tap.floor->tokens;
  const bool narrow = tokens > 0 && tokens < kEnoughTokens && tokens < tap.metrics.layout.tokens;
  return narrow ? kNarrowFloorBand * kTokenBand : kTokenBand;
}

void judge_parts(TapDiff& tap) {
  struct Part {
    double g, f, band;
    bool may_diverge;
    std::string note;
  };
  const Profile &g = tap.g, &f = *tap.floor;
  const auto& layout = tap.metrics.layout;
  std::vector<Part> parts = {{g.total, f.total, 1, true, ""}};
  if (tap.metrics.without_largest) {
    parts.push_back({g.trimmed, f.trimmed, kTrimmedBand, true, "without its largest channels"});
  }
  if (layout.tokens > 1 && layout.channels >= 16) {
    parts.push_back(
        {g.token, f.token, token_band(tap), true, fmt::format("token {} alone", g.worst_token)});
  }
  if (layout.rows >= 16) {
    parts.push_back({g.channel, f.channel, kChannelBand, false,
                     fmt::format("channel {} alone", g.worst_channel)});
  }
  tap.judgement = Judgement::kClean;
  for (const Part& part : parts) {
    const double ratio = part.g == 0 ? 0 : part.f > 0 ? part.g / part.f / part.band : INFINITY;
    Judgement judgement = Judgement::kClean;
    // Written so that a NaN is never clean.
    if (!(ratio <= tap.bands.watch)) judgement = Judgement::kWatch;
    if (!(ratio <= tap.bands.diverged) && part.may_diverge) judgement = Judgement::kDiverged;
    if (judgement > tap.judgement) {
      tap.judgement = judgement;
      tap.note = part.note.empty() ? "" : fmt::format("{}: g {:.2g}", part.note, part.g);
    }
    if (part.may_diverge) tap.ratio = std::max(tap.ratio, ratio);
  }
}

}  // namespace lockstep::parity
