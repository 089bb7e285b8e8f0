// Faults that no row of the catalogue describes: whatever gives one of them a name is wrong.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "fault_kind.h"

namespace lockstep::mutants {
namespace {

std::optional<uint32_t> pick_linear(Plant& p) {
  std::vector<uint32_t> sites;
  for (const uint32_t n : p.sites.ops("linear")) {
    const Shape& weight = p.sites.input_type(n, 1).shape;
    if (p.sites.layer_of(n) >= 0 && weight[0].count >= 32 && weight[1].count >= 32)
      sites.push_back(n);
  }
  if (sites.empty()) return std::nullopt;
  return p.pick(sites);
}

std::optional<uint32_t> pick_norm(Plant& p) {
  if (p.sites.norms.empty()) return std::nullopt;
  return p.pick(p.sites.norms);
}

bool channel_negated(Plant& p) {
  const auto n = pick_linear(p);
  if (!n) return false;
  const auto channel = static_cast<size_t>(p.random()() % 32);
  p.edit.change_output(*n, [channel](std::vector<double>& y, const View& view) {
    const auto width = static_cast<size_t>(view.dim(-1));
    for (size_t i = channel; i < y.size(); i += width) y[i] = -y[i];
  });
  p.note = fmt::format("{}: channel {} negated", p.sites.path(*n), channel);
  return p.magnitude == 0;
}

bool squashed(Plant& p) {
  const auto n = pick_linear(p);
  if (!n) return false;
  const double range = p.by_magnitude(4.0, 2.0, 1.0);
  p.edit.change_output(*n, [range](std::vector<double>& y, const View&) {
    for (double& v : y) v = range * std::tanh(v / range);
  });
  p.note = fmt::format("{}: {} tanh(y / {})", p.sites.path(*n), range, range);
  return true;
}

bool low_rank(Plant& p) {
  const auto n = pick_linear(p);
  if (!n) return false;
  const double size = p.by_magnitude(0.01, 0.05, 0.2);
  const uint64_t seed = p.random()();
  p.edit.change_input(*n, 1, [size, seed](std::vector<double>& w, const View& view) {
    std::mt19937_64 random(seed);
    std::normal_distribution<double> normal;
    const auto columns = static_cast<size_t>(view.dim(1)), rows = w.size() / columns;
    std::vector<double> a(rows), b(columns);
    for (double& x : a) x = normal(random);
    for (double& x : b) x = normal(random) * size;
    for (size_t i = 0; i < w.size(); ++i) w[i] += a[i / columns] * b[i % columns];
  });
  p.note = fmt::format("{}: a random product of two vectors added, of {}", p.sites.path(*n), size);
  return true;
}

bool tokens_exchanged(Plant& p) {
  const auto n = pick_norm(p);
  if (!n) return false;
  const auto first = static_cast<ptrdiff_t>(p.by_magnitude(3, 9, 20));
  p.edit.change_output(*n, [first](std::vector<double>& y, const View& view) {
    const auto width = static_cast<ptrdiff_t>(view.dim(1));
    if (view.dim(0) < first + 3) return;
    std::swap_ranges(y.begin() + first * width, y.begin() + (first + 1) * width,
                     y.begin() + (first + 2) * width);
  });
  p.note = fmt::format("{}: tokens {} and {} exchanged", p.sites.path(*n), first, first + 2);
  return true;
}

bool quantised(Plant& p) {
  const auto n = pick_linear(p);
  if (!n) return false;
  const double levels = p.by_magnitude(63, 31, 15);
  p.edit.change_input(*n, 1, [levels](std::vector<double>& w, const View&) {
    double most = 0;
    for (const double x : w) most = std::max(most, std::abs(x));
    for (double& x : w) x = std::round(x / most * levels / 2) * most * 2 / levels;
  });
  p.note = fmt::format("{}: weight of {} levels", p.sites.path(*n), levels);
  return true;
}

bool channels_dropped(Plant& p) {
  const auto n = pick_norm(p);
  if (!n) return false;
  const uint64_t share = p.by_magnitude(20, 10, 4), seed = p.random()();
  p.edit.change_output(*n, [share, seed](std::vector<double>& y, const View& view) {
    const auto width = static_cast<size_t>(view.dim(1));
    for (size_t i = 0; i < y.size(); ++i) {
      std::mt19937_64 random(seed + i % width);
      if (random() % share == 0) y[i] = 0;
    }
  });
  p.note = fmt::format("{}: one channel in {} is zero", p.sites.path(*n), share);
  return true;
}

bool gate_squared(Plant& p) {
  std::vector<MlpSite> sites;
  for (const MlpSite& site : p.sites.mlps) {
    if (site.mul) sites.push_back(site);
  }
  if (sites.empty() || p.magnitude != 0) return false;
  const MlpSite site = p.pick(sites);
  p.edit.change_output(site.activation, [](std::vector<double>& y, const View&) {
    for (double& v : y) v *= v;
  });
  p.note = "the gate squared";
  return true;
}

bool magnitudes(Plant& p) {
  const auto n = pick_linear(p);
  if (!n || p.magnitude != 0) return false;
  p.edit.change_output(*n, [](std::vector<double>& y, const View&) {
    for (double& v : y) v = std::abs(v);
  });
  p.note = fmt::format("{}: magnitudes alone", p.sites.path(*n));
  return true;
}

bool noise(Plant& p) {
  const auto n = pick_linear(p);
  if (!n) return false;
  const double size = p.by_magnitude(1e-3, 1e-2, 1e-1);
  const uint64_t seed = p.random()();
  p.edit.change_output(*n, [size, seed](std::vector<double>& y, const View&) {
    std::mt19937_64 random(seed);
    std::normal_distribution<double> normal;
    for (double& v : y) v *= 1 + size * normal(random);
  });
  p.note = fmt::format("{}: {} of noise", p.sites.path(*n), size);
  return true;
}

bool weight_signs(Plant& p) {
  const auto n = pick_linear(p);
  if (!n) return false;
  const uint64_t share = p.by_magnitude(200, 50, 10), seed = p.random()();
  p.edit.change_input(*n, 1, [share, seed](std::vector<double>& w, const View&) {
    std::mt19937_64 random(seed);
    for (double& x : w) {
      if (random() % share == 0) x = -x;
    }
  });
  p.note = fmt::format("{}: one weight in {} negated", p.sites.path(*n), share);
  return true;
}

bool heads_mixed(Plant& p) {
  std::vector<uint32_t> sites;
  for (const AttentionSite& site : p.sites.attentions) sites.push_back(site.node);
  if (sites.empty()) return false;
  const double share = p.by_magnitude(0.05, 0.2, 0.5);
  p.edit.change_output(p.pick(sites), [share](std::vector<double>& y, const View& view) {
    const std::vector<double> sound = y;
    const auto heads = static_cast<size_t>(view.dim(1)), width = static_cast<size_t>(view.dim(2));
    for (size_t i = 0; i < y.size(); ++i) {
      const size_t head = i / width % heads;
      const size_t other = i - head * width + (head + 1) % heads * width;
      y[i] += share * sound[other];
    }
  });
  p.note = fmt::format("{} of the next head added to each", share);
  return true;
}

bool delayed(Plant& p) {
  const auto n = pick_linear(p);
  if (!n) return false;
  const double share = p.by_magnitude(0.02, 0.1, 0.5);
  p.edit.change_output(*n, [share](std::vector<double>& y, const View& view) {
    const auto width = static_cast<size_t>(view.dim(-1));
    for (size_t i = y.size(); i-- > width;) y[i] = (1 - share) * y[i] + share * y[i - width];
  });
  p.note = fmt::format("{}: {} of the token before", p.sites.path(*n), share);
  return true;
}

bool kinked(Plant& p) {
  if (p.sites.mlps.empty()) return false;
  const double slope = p.by_magnitude(0.05, 0.2, 0.5);
  p.edit.change_output(p.pick(p.sites.mlps).activation,
                       [slope](std::vector<double>& y, const View&) {
                         for (double& v : y) v += slope * std::sin(3 * v);
                       });
  p.note = fmt::format("{} sin(3 y) added to the activation", slope);
  return true;
}

constexpr FaultKind kKinds[] = {
    {"channel_negated", "", channel_negated},
    {"projection_squashed", "", squashed},
    {"low_rank_added", "", low_rank},
    {"tokens_exchanged", "", tokens_exchanged},
    {"weight_quantised", "", quantised},
    {"channels_dropped", "", channels_dropped},
    {"gate_squared", "", gate_squared},
    {"magnitudes_alone", "", magnitudes},
    {"noise", "", noise},
    {"weight_signs", "", weight_signs},
    {"heads_mixed", "", heads_mixed},
    {"token_before", "", delayed},
    {"activation_kinked", "", kinked},
};

}  // namespace

std::span<const FaultKind> unknown_kinds() { return kKinds; }

std::vector<FaultKind> fault_kinds() {
  std::vector<FaultKind> all;
  for (const auto kinds :
       {rotary_kinds(), attention_kinds(), norm_kinds(), projection_kinds(), feed_forward_kinds(),
        residual_kinds(), state_kinds(), unknown_kinds()}) {
    all.insert(all.end(), kinds.begin(), kinds.end());
  }
  return all;
}

}  // namespace lockstep::mutants
