// Causes at both ends of a model: which rows of a table a token takes, and what becomes of logits.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "parity/explain/causes/causes.h"
#include "parity/explain/causes/formula.h"
#include "parity/measure/pattern.h"
#include "parity/measure/search.h"

namespace lockstep::parity {
namespace {

struct Lookup {
  std::vector<double> ids;               // that the port was given
  std::vector<int64_t> port, reference;  // rows that both sides took
  Array table;
  bool is_positions = false;
};

std::optional<Lookup> lookup_of(const Site& site) {
  const SiteStep* step = last_step(site, "embedding");
  if (step == nullptr) return {};
  Lookup lookup;
  lookup.table = operand_or_empty(site, *step, "weight");
  lookup.ids = operand_or_empty(site, *step, "ids").values;
  const Operand* ids = step->operand("ids");
  lookup.is_positions = ids != nullptr && ids->name != "@input_ids";
  const auto n = static_cast<int64_t>(lookup.ids.size());
  const int64_t width = lookup.table.width();
  if (n == 0 || site.port.elements() != n * width) return {};
  const auto rows = [&](const Array& y) {
    return measure::row_places(reshaped(y, {n, width}), lookup.table, std::max(site.bar, 1e-6));
  };
  const auto port = rows(site.port), reference = rows(site.reference);
  if (!port || !reference) return {};
  lookup.port = *port;
  lookup.reference = *reference;
  return lookup;
}

Array taken(const Lookup& lookup, const std::vector<int64_t>& rows) {
  Array out = measure::matrix(static_cast<int64_t>(rows.size()), lookup.table.width());
  for (size_t t = 0; t < rows.size(); ++t) {
    if (rows[t] >= 0)
      std::copy_n(lookup.table.row(rows[t]), out.width(), out.row(static_cast<int64_t>(t)));
  }
  return out;
}

// The one number by which rows of both sides differ.
std::optional<int64_t> shift_of(const Lookup& lookup) {
  for (size_t t = 0; t < lookup.port.size(); ++t) {
    if (lookup.port[t] - lookup.reference[t] != lookup.port[0] - lookup.reference[0]) return {};
  }
  return lookup.port[0] - lookup.reference[0];
}

std::vector<Finding> position_rows(const Site& site) {
  const auto lookup = lookup_of(site);
  if (!lookup || !lookup->is_positions) return {};
  const auto by = shift_of(*lookup);
  if (!by || *by == 0 || (site.phase == Phase::kDecode && lookup->port.size() == 1)) return {};
  return {with_errors(site,
                      {fmt::format("learned positions are {:+d} rows off", *by),
                       fmt::format("take row position {:+d}", -*by),
                       {{"row of position 0", std::to_string(lookup->port[0]),
                         std::to_string(lookup->reference[0])}}},
                      taken(*lookup, lookup->port), taken(*lookup, lookup->reference))};
}

std::vector<Finding> position_of_step(const Site& site) {
  const auto lookup = lookup_of(site);
  if (!lookup || !lookup->is_positions || lookup->port.size() != 1) return {};
  if (site.phase != Phase::kDecode || lookup->port == lookup->reference) return {};
  return {with_errors(
      site,
      {fmt::format("the step's token takes the learned position {}, the reference {}",
                   lookup->port[0], lookup->reference[0]),
       "go on counting where the prompt ended",
       {{"row", std::to_string(lookup->port[0]), std::to_string(lookup->reference[0])}}},
      taken(*lookup, lookup->port), taken(*lookup, lookup->reference))};
}

// The port embeds the reference's tokens, some places on.
std::vector<Finding> shifted_ids(const Site& site) {
  const auto lookup = lookup_of(site);
  if (!lookup || lookup->is_positions || lookup->port.size() < 4) return {};
  const std::vector<int64_t>&port = lookup->port, &reference = lookup->reference;
  const auto n = static_cast<int64_t>(port.size());
  for (const int64_t by : {-3, -2, -1, 1, 2, 3}) {
    bool is_shift = true;
    for (int64_t t = std::max<int64_t>(0, -by); t < std::min(n, n - by); ++t) {
      is_shift &= port[static_cast<size_t>(t)] == reference[static_cast<size_t>(t + by)];
    }
    if (!is_shift || port == reference) continue;
    return {
        with_errors(site,
                    {fmt::format("the port embeds token t {} {} at place t{}", by > 0 ? '+' : '-',
                                 std::abs(by), by < 0 ? ": a token was put in front" : ""),
                     "feed the reference's ids: look at BOS, the template and special tokens",
                     {{"first id", std::to_string(port[0]), std::to_string(reference[0])}}},
                    taken(*lookup, port), taken(*lookup, reference))};
  }
  return {};
}

bool is_of_logits(const Site& site) {
  return site.path == "logits" || site.path.find("lm_head") != std::string::npos;
}

Array capped(Array x, double cap) {
  for (double& v : x.values) v = cap * std::tanh(v / cap);
  return x;
}

// A cap of the last logits that one side has not, or another.
std::vector<Finding> logit_cap(const Site& site) {
  if (!is_of_logits(site) || site.is_ids || site.port.values.empty()) return {};
  double most = 0;
  for (const double v : site.reference.values) most = std::max(most, std::abs(v));
  for (const double v : site.port.values) most = std::max(most, std::abs(v));
  std::vector<Finding> found;
  const auto add = [&](const Array& plain, const Array& side, bool port_caps) {
    const double cap = measure::least_positive(
        [&](double c) { return distance(capped(plain, c), side); }, most / 16, most * 256, 8);
    const std::string key = config_key_of(site, cap, 1e-3);
    const auto number = site.config_number(key);
    const double nominal = number ? *number : cap;
    const std::string text = number_text(nominal);
    found.push_back(
        with_errors(site,
                    {port_caps ? "the port caps its logits at " + text + ", the reference does not"
                               : "the reference caps its logits at " + text + ", the port does not",
                     port_caps ? "leave the cap out" : "cap logits: c tanh(x / c) with c = " + text,
                     {{"cap", port_caps ? text : "none", port_caps ? "none" : text}},
                     0,
                     0,
                     number ? 0 : 1},
                    port_caps ? capped(site.reference, nominal) : site.port,
                    port_caps ? site.reference : capped(site.port, nominal)));
  };
  add(site.port, site.reference, false);
  add(site.reference, site.port, true);
  return best_finding(std::move(found));
}

// Both sides cap, each at its own.
std::vector<Finding> other_cap(const Site& site) {
  if (!is_of_logits(site)) return {};
  const auto cap = site.config_number("final_logit_softcapping");
  if (!cap) return {};
  std::vector<Finding> found;
  for (const double of_port : {*cap / 2, *cap * 2, 30.0, 50.0}) {
    Array plain = site.port;
    for (double& v : plain.values) v = of_port * std::atanh(v / of_port);
    found.push_back(
        with_errors(site,
                    {fmt::format("logits are capped at {} in the port, at {} in the reference",
                                 number_text(of_port), number_text(*cap)),
                     "cap at final_logit_softcapping",
                     {{"cap", number_text(of_port), number_text(*cap)}}},
                    capped(plain, of_port), capped(plain, *cap)));
  }
  return best_finding(std::move(found));
}

std::vector<Finding> logit_factor(const Site& site) {
  if (!is_of_logits(site) || site.is_ids) return {};
  const auto factor =
      measure::whole_factor(site.port, reshaped(site.reference, site.port.shape), site.bar);
  if (!factor || *factor == 0) return {};
  return {with_errors(
      site,
      {fmt::format("the port's logits are the reference's times {}", number_text(*factor)),
       "scale logits as the reference does",
       {{"factor", number_text(*factor), "1"}}},
      measure::scaled(site.reference, *factor), site.reference)};
}

}  // namespace

std::vector<Cause> embedding_causes() {
  return {
      {"learned_offset", 19, "rows of learned positions", "", "embedding", "", position_rows},
      {"stuck_position", 10, "position of a decoded token", "", "embedding", "", position_of_step},
      {"shifted_tokens", 66, "ids that are embedded", "", "embedding", "", shifted_ids},
      {"logits_unchanged", 25, "cap of the logits", "", "*", "", logit_cap},
      {"logits_unchanged", 25, "cap of the logits", "", "*", "", other_cap},
      {"logits_unchanged", 25, "factor of the logits", "", "*", "", logit_factor},
  };
}

}  // namespace lockstep::parity
