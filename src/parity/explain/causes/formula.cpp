#include "parity/explain/causes/formula.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ranges>

namespace lockstep::parity {

const SiteStep* last_step(const Site& site, std::string_view op) {
  for (const SiteStep& step : site.steps | std::views::reverse) {
    if (step.op == op) return &step;
    if (step.op != "cast") return nullptr;
  }
  return nullptr;
}

Array operand_or_empty(const Site& site, const SiteStep& step, std::string_view role) {
  const Array* array = site.operand(step, role);
  return array == nullptr ? Array() : *array;
}

std::string number_text(double value) { return fmt::format("{:.6g}", value); }

Finding with_errors(const Site& site, Finding finding, const Array& wrong, const Array& right) {
  finding.port_error = site.difference(wrong, site.port);
  finding.reference_error = site.difference(right, site.reference);
  return finding;
}

Finding either_way(const Site& site, const Array& base, const Array& other,
                   const Words& reference_has, const Words& port_has) {
  const auto finding_of = [&](const Words& words, const Array& wrong, const Array& right) {
    return with_errors(site, {words.what, words.change, words.measured, 0, 0, words.n_fitted},
                       wrong, right);
  };
  const Finding forth = finding_of(reference_has, base, other);
  const Finding back = finding_of(port_has, other, base);
  const auto worse = [](const Finding& f) { return std::max(f.port_error, f.reference_error); };
  return worse(back) < worse(forth) ? back : forth;
}

std::vector<Finding> best_finding(std::vector<Finding> findings) {
  const auto worse = [](const Finding& f) { return std::max(f.port_error, f.reference_error); };
  const auto best = std::ranges::min_element(findings, {}, worse);
  if (best == findings.end()) return {};
  return {std::move(*best)};
}

std::string config_key_of(const Site& site, double value, double tolerance) {
  std::string found;
  for (const auto& [key, number] : site.config_numbers()) {
    if (std::abs(number - value) > tolerance * std::abs(value)) continue;
    if (found.empty() || key.size() < found.size()) found = key;
  }
  return found;
}

double number_tolerance(const Site& site) { return std::max(1e-6, 4 * site.bar); }

}  // namespace lockstep::parity
