#include "parity/floor.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <unordered_map>

#include "parity/anatomy.h"

namespace lockstep::parity {
namespace {

bool ends_with(std::string_view text, std::string_view tail) {
  return text.size() >= tail.size() && text.substr(text.size() - tail.size()) == tail;
}

std::string device_kind(const std::string& device) { return device.substr(0, device.find(':')); }

std::string phase_key(Phase phase, const std::string& key) {
  return fmt::format("{} {}", phase_name(phase), key);
}

/// Of a reference run: whether it can be the truth.
bool is_precise(const std::string& dtype) { return dtype == "float32" || dtype.empty(); }
/// Of a port: whether it is judged as float32.
std::string judged_as(const std::string& dtype) {
  return dtype == "float64" || dtype.empty() ? "float32" : dtype;
}

}  // namespace

bool same_position(const RunInfo& a, const RunInfo& b) {
  return a.phase == b.phase && a.step == b.step && a.prompt_ids == b.prompt_ids;
}

CompareOptions compare_options(const Run& run, const Tap& reference, const Tap& port) {
  CompareOptions out;
  const std::string& path = reference.info.path;
  const auto keys = static_cast<int64_t>(run.info.prompt_ids.size());
  const int64_t queries = run.info.phase == Phase::kPrefill ? keys : 1;
  const View& v = reference.view;
  out.heads_first =
      ends_with(path, "/scores") || ends_with(path, "/probs") ||
      (v.rank == 3 && v.shape[1] == queries && v.shape[2] == keys && v.shape[0] != queries);
  out.may_mask = ends_with(path, "/scores") || dissect(path).shared ||
                 (reference.info.name && reference.info.name->find("mask") != std::string::npos);
  out.drop_reference = reference.mapped;
  out.drop_port = port.mapped;
  return out;
}

bool Floors::has_ids(const RunInfo& port) const {
  return std::any_of(runs_.begin(), runs_.end(),
                     [&](const ReferenceRun& r) { return same_position(r.run->info, port); });
}

const Run* Floors::truth_for(const RunInfo& port, const std::string& port_dtype) const {
  const Run* best = nullptr;
  int best_score = -1;
  for (const ReferenceRun& r : runs_) {
    const RunInfo& info = r.run->info;
    if (!same_position(info, port)) continue;
    int score = 0;
    if (is_precise(info.dtype)) {
      score = 1000;
    } else if (info.dtype == port_dtype) {
      score = 500;
    } else if (info.dtype == "float64") {
      score = 250;
    } else {
      continue;
    }
    score += (r.own ? 100 : 0) + (r.run->taps.empty() ? 0 : 50) +
             (info.attention == port.attention ? 2 : 0) +
             (device_kind(info.device) == device_kind(port.device) ? 1 : 0);
    if (score > best_score) {
      best_score = score;
      best = r.run;
    }
  }
  return best;
}

double Floors::usual_energy(const std::string& key) {
  const auto found = usual_.find(key);
  if (found != usual_.end()) return found->second;
  std::vector<double> energy;
  for (const ReferenceRun& r : runs_) {
    if (!is_precise(r.run->info.dtype) || r.run->info.prompt_ids.size() < 2) continue;
    for (const Tap& tap : r.run->taps) {
      if (match_key(tap.info) != key || tap.view.elements() == 0) continue;
      const CompareOptions options = compare_options(*r.run, tap, tap);
      const TapMetrics m = compare(tap.view, tap.view, options, pool_);
      if (m.reference_nonfinite > 0) continue;
      for (const TokenMetrics& token : m.tokens) {
        energy.push_back(token.rr * static_cast<double>(m.layout.tokens) /
                         static_cast<double>(m.elements()));
      }
    }
  }
  double& out = usual_[key];
  if (energy.empty()) return out;
  const auto middle = energy.begin() + static_cast<ptrdiff_t>(energy.size() / 2);
  std::nth_element(energy.begin(), middle, energy.end());
  return out = *middle;
}

Profile Floors::profile(const TapMetrics& metrics, const std::string& key) {
  Profile out = metrics.profile();
  if (metrics.elements() >= kFewElements) return out;
  const double least = usual_energy(key) * static_cast<double>(metrics.elements());
  if (!(metrics.sums.rr < least)) return out;
  Sums sums = metrics.sums;
  sums.rr = least;
  out.total = out.trimmed = out.token = out.channel = sums.relative_l2();
  return out;
}

void Floors::measure(const Run& truth, const Run& other, std::map<std::string, Profile>& into) {
  std::unordered_map<std::string, const Tap*> by_key;
  for (const Tap& tap : other.taps) by_key.emplace(match_key(tap.info), &tap);
  const auto add = [&](const std::string& key, const Tap& a, const Tap& b,
                       const CompareOptions& options) {
    if (!pair_shapes(a.view, b.view, options.heads_first)) return;
    const TapMetrics m = compare(a.view, b.view, options, pool_);
    if (m.reference_nonfinite + m.port_nonfinite + m.mask_mismatches > 0) return;
    into[phase_key(truth.info.phase, key)].widen(profile(m, key));
  };
  for (const Tap& tap : truth.taps) {
    const auto it = by_key.find(match_key(tap.info));
    if (it == by_key.end() || dissect(tap.info.path).dispatch) continue;
    add(it->first, tap, *it->second, compare_options(truth, tap, *it->second));
  }
  if (truth.logits && other.logits && truth.first_logit_row == other.first_logit_row) {
    CompareOptions options;
    options.drop_reference = truth.logits->mapped;
    options.drop_port = other.logits->mapped;
    add("logits", *truth.logits, *other.logits, options);
  }
}

const Floors::Measured& Floors::measured(const std::string& port_dtype) {
  const std::string dtype = judged_as(port_dtype);
  const auto found = by_dtype_.find(dtype);
  if (found != by_dtype_.end()) return found->second;
  Measured& out = by_dtype_[dtype];
  std::set<std::string> sources;
  for (const ReferenceRun& r : runs_) {
    const RunInfo& info = r.run->info;
    if (info.prompt_ids.size() < 2) continue;  // its softmax has one key: no noise to measure
    const bool low = info.dtype == dtype && !is_precise(dtype);
    const bool wide = is_precise(dtype) && info.dtype == "float64";
    const bool spread = is_precise(dtype) && is_precise(info.dtype);
    if (!low && !wide && !spread) continue;
    RunInfo like = info;
    like.dtype = "float32";
    const Run* truth = truth_for(like, "float32");
    if (truth == nullptr || !is_precise(truth->info.dtype) || truth == r.run) {
      // Among precise runs each is compared with the first of its position.
      if (!spread) continue;
      truth = nullptr;
      for (const ReferenceRun& first : runs_) {
        if (is_precise(first.run->info.dtype) && same_position(first.run->info, info)) {
          truth = first.run;
          break;
        }
      }
      if (truth == nullptr || truth == r.run) continue;
    }
    const std::string name =
        fmt::format("{}{}{}", info.dtype.empty() ? "another recording" : info.dtype,
                    info.attention.empty() ? "" : " " + info.attention,
                    info.device.empty() ? "" : " " + info.device);
    std::map<std::string, Profile> profiles;
    measure(*truth, *r.run, profiles);
    const bool other_computation =
        spread && !wide && std::any_of(profiles.begin(), profiles.end(), [](const auto& entry) {
          return entry.second.total > kLargestFloat32Floor;
        });
    if (other_computation) {
      sources.insert(name + " left out, as it computes something else");
      continue;
    }
    auto& into = low ? out.low : wide ? out.wide : out.spread;
    for (const auto& [key, profile] : profiles) into[key].widen(profile);
    sources.insert(name);
  }
  out.source = fmt::format("{}", fmt::join(sources, ", "));
  return out;
}

namespace {

Profile scaled(const Profile& p, double factor, double plus) {
  Profile out = p;
  for (double* value : {&out.total, &out.trimmed, &out.token, &out.channel}) {
    *value = factor * (*value + plus);
  }
  return out;
}

}  // namespace

std::optional<Profile> Floors::floor(const std::string& dtype, Phase phase, const std::string& key,
                                     bool is_logits) {
  const Measured& m = measured(dtype);
  const auto find = [&](const std::map<std::string, Profile>& map) -> const Profile* {
    auto it = map.find(phase_key(phase, key));
    if (it == map.end()) {
      it = map.find(phase_key(phase == Phase::kPrefill ? Phase::kDecode : Phase::kPrefill, key));
    }
    return it == map.end() ? nullptr : &it->second;
  };
  if (judged_as(dtype) != "float32") {
    const Profile* low = find(m.low);
    if (low == nullptr) return {};
    return scaled(*low, 1, one_rounding(dtype));
  }
  // The bars are where a tap is diverged, so the floor is a third of them.
  const double third = 1 / Bands().diverged;
  const double bar = is_logits ? kFloat32LogitsBar : kFloat32TapBar;
  Profile out;
  out.total = bar * third;
  out.trimmed = out.total * kFloat32TrimmedBar;
  out.token = out.total * kFloat32TokenBar;
  out.channel = out.total * kFloat32ChannelBar;
  if (const Profile* wide = find(m.wide)) {
    out = scaled(*wide, kFloat64Factor * third, one_rounding("float32"));
  }
  if (const Profile* spread = find(m.spread)) out.widen(scaled(*spread, 1, 0));
  return out;
}

std::string Floors::source(const std::string& dtype) {
  const Measured& m = measured(dtype);
  if (judged_as(dtype) == "float32") {
    if (!m.wide.empty()) return fmt::format("{}x the float64 floor", kFloat64Factor);
    std::string out =
        fmt::format("bars {:.0e} taps, {:.0e} logits", kFloat32TapBar, kFloat32LogitsBar);
    if (!m.source.empty()) out += ", widened by " + m.source;
    return out;
  }
  if (m.source.empty()) return "none was recorded";
  int64_t tokens = 0;
  for (const auto& [key, profile] : m.low) tokens = std::max(tokens, profile.tokens);
  return fmt::format("measured from {} on {} tokens", m.source, tokens);
}

}  // namespace lockstep::parity
