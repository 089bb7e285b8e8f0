// Causes in matrix products, read off the two outcomes: a bias that one side adds otherwise, a
// factor, channels in another order.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "parity/explain/causes/causes.h"
#include "parity/explain/causes/formula.h"
#include "parity/measure/channel_order.h"
#include "parity/measure/pattern.h"

namespace lockstep::parity {
namespace {

// Both outcomes as [tokens, channels].
struct Outcomes {
  const SiteStep* step = nullptr;
  Array port, reference;
};

std::optional<Outcomes> outcomes_of(const Site& site) {
  const SiteStep* step = last_step(site, "linear");
  if (step == nullptr) return {};
  const Array* weight = site.operand(*step, "weight");
  if (weight == nullptr || weight->rows() == 0) return {};
  const int64_t n = weight->rows();
  if (site.port.elements() % n != 0 || site.port.elements() != site.reference.elements()) return {};
  const int64_t rows = site.port.elements() / n;
  return Outcomes{step, reshaped(site.port, {rows, n}), reshaped(site.reference, {rows, n})};
}

Array plus(Array m, std::span<const double> addend, double factor) {
  for (int64_t r = 0; r < m.rows(); ++r) {
    for (int64_t c = 0; c < m.width(); ++c) {
      measure::at(m, r, c) += factor * addend[static_cast<size_t>(c)];
    }
  }
  return m;
}

// The reference is the port's outcome plus `times` a vector.
Finding bias_finding(const std::string& name, int64_t times) {
  Finding finding;
  const std::string per_rank = fmt::format("added {} times (once a rank)", 1 - times);
  finding.what = times == 1    ? "the port leaves out the bias " + name
                 : times == -1 ? "the port adds the bias " + name + " once too often"
                 : times == 2  ? "the port subtracts the bias " + name
                 : times < 0   ? "the bias " + name + " is " + per_rank
                               : fmt::format("the bias {} is missing {} times", name, times);
  finding.change = times == 1 ? "add " + name : "add " + name + " once";
  finding.measured = {{"bias", fmt::format("{:+d} times", -times), "as it should be"}};
  return finding;
}

std::vector<Finding> bias(const Site& site) {
  const auto o = outcomes_of(site);
  if (!o || site.geometry.layer < 0) return {};  // a head's has a row of its own
  const auto addend = measure::row_addend(o->reference, o->port, site.bar);
  if (!addend) return {};
  const double aa = std::inner_product(addend->begin(), addend->end(), addend->begin(), 0.0);
  std::vector<Finding> found;
  const std::vector<std::string> names = site.stored_names();
  for (const std::string& name : names) {
    if (name.find("bias") == std::string::npos) continue;
    const Array* b = site.stored(name);
    if (b == nullptr || b->elements() != o->port.width()) continue;
    const double ab = std::inner_product(addend->begin(), addend->end(), b->values.begin(), 0.0);
    const double bb =
        std::inner_product(b->values.begin(), b->values.end(), b->values.begin(), 0.0);
    if (bb <= 0 || ab * ab < 0.9 * aa * bb) continue;
    const double times = std::round(ab / bb);
    if (times == 0 || std::abs(times) > 64) continue;
    found.push_back(with_errors(site, bias_finding(name, static_cast<int64_t>(times)), o->port,
                                plus(o->port, b->values, times)));
  }
  return found;
}

// One vector on all rows that no tensor of the checkpoint is: a description.
std::vector<Finding> addend(const Site& site) {
  const auto o = outcomes_of(site);
  if (!o) return {};
  const auto found = measure::row_addend(o->reference, o->port, site.bar);
  if (!found) return {};
  return {with_errors(site,
                      {"the reference adds one vector to every token that the port does not; no "
                       "tensor of the checkpoint is it",
                       "look for a bias that is made from others",
                       {},
                       0,
                       0,
                       static_cast<int>(found->size())},
                      o->port, plus(o->port, *found, 1))};
}

// Channels of the port are the reference's in an order that has a name.
template <bool kInsideHeads>
std::vector<Finding> channel_order(const Site& site) {
  const auto o = outcomes_of(site);
  if (!o) return {};
  const auto places = measure::column_places(o->port, o->reference, site.bar);
  if (!places) return {};
  const Geometry& g = site.geometry;
  const auto name = measure::order_name(*places, g.head_dim, g.n_heads, g.n_kv_heads);
  const bool is_inside = name.find("of each head") != std::string::npos;
  if (is_inside != kInsideHeads) return {};
  Array made = o->port;
  for (int64_t r = 0; r < made.rows(); ++r) {
    for (int64_t c = 0; c < made.width(); ++c) {
      const int64_t from = (*places)[static_cast<size_t>(c)];
      measure::at(made, r, c) = from < 0 ? 0 : measure::at(o->reference, r, from);
    }
  }
  Finding finding{fmt::format("channels of the port are the reference's in another order: {}",
                              name.empty() ? "one that has no name" : name),
                  "bring the weight's rows into the order that the code reads",
                  {},
                  0,
                  0,
                  name.empty() ? static_cast<int>(places->size()) : 0};
  finding.measured = {{"channels", name.empty() ? "permuted" : name, "as stored"}};
  finding.port_error = site.difference(made, site.port);
  return {finding};
}

// Channels that the port leaves at zero, or at their bias alone: a shard's part is missing.
std::vector<Finding> zero_channels(const Site& site) {
  const auto o = outcomes_of(site);
  if (!o) return {};
  Array made = o->reference;
  int64_t first = -1, last = -1, n = 0;
  for (int64_t c = 0; c < made.width(); ++c) {
    bool is_zero = true;
    for (int64_t r = 0; r < made.rows(); ++r) is_zero &= measure::at(o->port, r, c) == 0;
    if (!is_zero) continue;
    for (int64_t r = 0; r < made.rows(); ++r) measure::at(made, r, c) = 0;
    if (first < 0) first = c;
    last = c;
    ++n;
  }
  if (n == 0) return {};
  return {with_errors(site,
                      {fmt::format("{} of {} channels are zero in the port, from {} to {}", n,
                                   made.width(), first, last),
                       "load the whole weight: these rows were never filled",
                       {{"zero channels", std::to_string(n), "0"}}},
                      made, o->reference)};
}

// What each run of a head's channels, or each channel, is multiplied with.
std::vector<Finding> channel_factors(const Site& site) {
  const auto o = outcomes_of(site);
  if (!o || measure::whole_factor(o->port, o->reference, site.bar)) return {};
  for (const int64_t width : {site.geometry.head_dim, int64_t{1}}) {
    if (width < 1 || o->port.width() % width != 0) continue;
    const auto factors = measure::run_factors(o->port, o->reference, width, site.bar);
    if (!factors) continue;
    Array made = o->reference;
    for (int64_t r = 0; r < made.rows(); ++r) {
      for (int64_t c = 0; c < made.width(); ++c) {
        measure::at(made, r, c) *= (*factors)[static_cast<size_t>(c / width)];
      }
    }
    // A factor a channel that is a tensor of the checkpoint is a scale that was left out.
    std::string scale;
    for (const std::string& name : site.stored_names()) {
      if (name.find("scale") == std::string::npos) continue;
      const Array* s = site.stored(name);
      if (s == nullptr || s->values.size() != factors->size()) continue;
      std::vector<double> inverse = s->values;
      for (double& v : inverse) v = 1 / v;
      if (measure::agree(*factors, s->values, 1e-3) || measure::agree(*factors, inverse, 1e-3)) {
        scale = name;
      }
    }
    return {with_errors(
        site,
        {fmt::format("the port's channels are the reference's times a factor {}{}",
                     width == 1 ? "each" : "a head", scale.empty() ? "" : ": " + scale),
         scale.empty() ? "look for a scale that one side applies" : "apply " + scale + " once",
         {{"factors",
           fmt::format("{:.4g}",
                       fmt::join(factors->begin(),
                                 factors->begin() +
                                     std::min<int64_t>(4, static_cast<int64_t>(factors->size())),
                                 ", ")),
           "1"}},
         0,
         0,
         scale.empty() ? static_cast<int>(factors->size()) : 0},
        made, o->reference)};
  }
  return {};
}

}  // namespace

std::vector<Cause> product_causes() {
  return {
      {"projection_bias", 30, "bias of a projection", "", "linear", "", bias},
      {"linear_addend", 0, "a vector on every token", "", "linear", "", addend},
      {"weight_rows", 29, "order of channels", "", "linear", "", channel_order<false>},
      {"weight_rows_rotary", 2, "order of channels inside each head", "", "linear", "",
       channel_order<true>},
      {"zero_channels", 57, "channels that were not loaded", "", "linear", "", zero_channels},
      {"channel_factors", 56, "factors of channels", "", "linear", "", channel_factors},
  };
}

}  // namespace lockstep::parity
