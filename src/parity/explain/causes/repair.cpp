#include "parity/explain/causes/repair.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "parity/explain/edit.h"

namespace lockstep::parity {
namespace {

constexpr size_t kShown = 4;  // elements of a list

struct AttrText {
  std::string operator()(int64_t value) const { return std::to_string(value); }
  std::string operator()(double value) const { return fmt::format("{:.7g}", value); }
  std::string operator()(const std::string& value) const { return value; }
  template <class T>
  std::string operator()(const std::vector<T>& values) const {
    const size_t n = std::min(values.size(), kShown);
    return fmt::format("[{}{}]", fmt::join(values.begin(), values.begin() + n, ", "),
                       n < values.size() ? fmt::format(", ... {} in all", values.size()) : "");
  }
};

const Attrs::Value* find_attr(const Attrs& attrs, const std::string& name) {
  for (const auto& [key, value] : attrs.all()) {
    if (key == name) return &value;
  }
  return nullptr;
}

// A number as a float attribute wants it: config.json writes 1 for 1.0.
bool is_equal(const Attrs::Value* has, const Attrs::Value& value) {
  return has != nullptr && *has == value;
}

using Nodes = std::vector<const SiteStep*>;

// All nodes of the op, then each alone where there are several.
std::vector<Nodes> choices_of_nodes(const Site& site, std::string_view op) {
  Nodes all;
  for (const SiteStep& step : site.steps) {
    if (step.op == op) all.push_back(&step);
  }
  std::vector<Nodes> sets;
  if (!all.empty()) sets.push_back(all);
  for (const SiteStep* step : all.size() > 1 ? all : Nodes()) sets.push_back({step});
  return sets;
}

Finding attr_finding(const Site& site, const SiteStep& step, const std::string& attr,
                     const std::string& what, const AttrChoice& choice) {
  const Attrs::Value* has = find_attr(step.attrs, attr);
  const std::string own = has == nullptr ? "none" : attr_text(*has),
                    other = attr_text(choice.value);
  const std::string origin = choice.origin.empty() ? "" : " (" + choice.origin + ")";
  Finding finding;
  if (site.is_sound_right()) {
    finding.what =
        fmt::format("computed as if {} were {}{}, the reference has {}", what, other, origin, own);
    finding.change =
        fmt::format("in {}: {} of {} is {}, compute it so", site.path, attr, step.op, own);
    finding.measured = {{what, other, own}};
    return finding;
  }
  finding.what = fmt::format("{} is {}, the reference has {}{}", what, own, other, origin);
  finding.change = fmt::format("in {}: {} of {} = {}", site.path, attr, step.op, other);
  finding.measured = {{what, own, other}};
  return finding;
}

Change attr_change(const Nodes& nodes, const std::string& attr, const Attrs::Value& value) {
  Change change;
  change.graph = [=](Graph& part) {
    for (const SiteStep* step : nodes) set_attr(part, step->node, attr, value);
  };
  return change;
}

}  // namespace

std::string attr_text(const Attrs::Value& value) { return std::visit(AttrText(), value); }

std::string last_name(std::string_view path) {
  const size_t cut = path.find_last_of("./");
  return std::string(cut == std::string_view::npos ? path : path.substr(cut + 1));
}

std::vector<Finding> best_of(std::vector<Finding> findings) {
  const auto error = [](const Finding& f) { return std::max(f.port_error, f.reference_error); };
  const auto best = std::ranges::min_element(findings, {}, error);
  if (best == findings.end()) return {};
  return {std::move(*best)};
}

std::vector<Finding> try_change(const Site& site, Change change, Finding finding) {
  const bool is_counterfeit = site.is_sound_right();
  change.chain = is_counterfeit ? Change::Chain::kSound : Change::Chain::kPort;
  const std::optional<Array> found = site.replay(change);
  if (!found) return {};
  if (is_counterfeit) {
    finding.port_error = site.difference(*found, site.port);
    finding.reference_error = *site.sound_error();
  } else {
    finding.reference_error = site.difference(*found, site.reference);
  }
  return {std::move(finding)};
}

std::vector<AttrChoice> config_choices(const Site& site, std::initializer_list<const char*> keys) {
  std::vector<AttrChoice> choices;
  for (const char* key : keys) {
    const std::optional<double> value = site.config_number(key);
    if (value) choices.push_back({*value, fmt::format("config.json: {}", key)});
  }
  return choices;
}

std::vector<Finding> try_attr(const Site& site, std::string_view op, const std::string& attr,
                              const std::string& what, const std::vector<AttrChoice>& choices) {
  std::vector<Finding> found;
  for (const Nodes& nodes : choices_of_nodes(site, op)) {
    for (const AttrChoice& choice : choices) {
      if (is_equal(find_attr(nodes.front()->attrs, attr), choice.value)) continue;
      for (Finding& finding : try_change(site, attr_change(nodes, attr, choice.value),
                                         attr_finding(site, *nodes.front(), attr, what, choice))) {
        found.push_back(std::move(finding));
      }
    }
  }
  return best_of(std::move(found));
}

std::vector<Finding> fit_attr(const Site& site, std::string_view op, const std::string& attr,
                              const std::string& what, double low, double high) {
  constexpr int kCoarse = 24, kFine = 60;
  constexpr double kGolden = 0.6180339887498949;
  const std::vector<Nodes> sets = choices_of_nodes(site, op);
  if (sets.empty()) return {};
  const auto error = [&](double x) {
    const std::vector<Finding> found =
        try_change(site, attr_change(sets.front(), attr, std::exp(x)), {});
    if (found.empty()) return double{INFINITY};
    return site.is_sound_right() ? found[0].port_error : found[0].reference_error;
  };
  double best = std::log(low), least = INFINITY;
  const double step = (std::log(high) - std::log(low)) / kCoarse;
  for (int i = 0; i <= kCoarse; ++i) {
    const double x = std::log(low) + step * i, e = error(x);
    if (e < least) best = x, least = e;
  }
  if (!std::isfinite(least)) return {};
  double a = best - step, b = best + step;
  double c = b - kGolden * (b - a), d = a + kGolden * (b - a);
  double at_c = error(c), at_d = error(d);
  for (int i = 0; i < kFine && b - a > 1e-9; ++i) {
    if (at_c < at_d) {
      b = d, d = c, at_d = at_c;
      c = b - kGolden * (b - a), at_c = error(c);
    } else {
      a = c, c = d, at_c = at_d;
      d = a + kGolden * (b - a), at_d = error(d);
    }
  }
  const double value = std::exp((a + b) / 2);
  Finding finding = attr_finding(site, *sets.front().front(), attr, what,
                                 {value, "measured; no number of config.json"});
  finding.n_fitted = 1;
  return try_change(site, attr_change(sets.front(), attr, value), std::move(finding));
}

}  // namespace lockstep::parity
