// Causes in how a matrix product is put together: ranks whose part is missing or comes twice,
// weights without their scale, weights that were never loaded. Formulas on x, weight and bias.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "parity/explain/causes/causes.h"
#include "parity/explain/causes/formula.h"
#include "parity/measure/pattern.h"

namespace lockstep::parity {
namespace {

struct Product {
  Array x, weight, bias;  // [rows, k], [n, k], [n] or empty
  Array port, reference;  // [rows, n]

  Array with_bias(Array y) const {
    return bias.values.empty() ? y : measure::sum(std::move(y), bias);
  }
};

std::optional<Product> product_of(const Site& site) {
  const SiteStep* step = last_step(site, "linear");
  if (step == nullptr) return {};
  Product p{operand_or_empty(site, *step, "x"), operand_or_empty(site, *step, "weight"),
            operand_or_empty(site, *step, "bias"), site.port, site.reference};
  const int64_t k = p.weight.width(), n = p.weight.rows();
  if (p.x.values.empty() || n == 0 || p.x.elements() % k != 0) return {};
  const int64_t rows = p.x.elements() / k;
  if (site.port.elements() != rows * n || site.reference.elements() != rows * n) return {};
  p.x = reshaped(p.x, {rows, k});
  p.weight = reshaped(p.weight, {n, k});
  p.port = reshaped(p.port, {rows, n});
  p.reference = reshaped(p.reference, {rows, n});
  return p;
}

Array without_bias(Array y, const Array& bias) {
  if (bias.values.empty()) return y;
  return measure::map(std::move(y), bias, [](double a, double b) { return a - b; });
}

// Of one side, said as the fault of the port or as what the reference does.
Words part_words(const std::string& side, const std::string& what, const std::string& change) {
  return {side + " " + what, change, {{"sum", what, "whole"}}};
}

// What some of the ranks that share the inner dimension add up, or all of them several times.
std::vector<Finding> partial_sum(const Site& site) {
  const auto p = product_of(site);
  if (!p) return {};
  const Array whole = p->with_bias(measure::product(p->x, p->weight));
  std::vector<Finding> found;
  const auto add = [&](const Array& other, const std::string& what) {
    found.push_back(either_way(site, whole, other,
                               part_words("the reference", what, "sum as the reference does"),
                               part_words("the port", what, "reduce once over all ranks")));
  };
  for (const double n : {2.0, 4.0, 8.0}) {
    add(measure::scaled(whole, n), fmt::format("adds the whole up {} times", n));
  }
  const int64_t k = p->x.width();
  for (const int64_t ranks : {2, 4, 8}) {
    if (k % ranks != 0) continue;
    const int64_t shard = k / ranks;
    for (int64_t r = 0; r < ranks; ++r) {
      const Array part =
          measure::product(measure::column_range(p->x, r * shard, (r + 1) * shard),
                           measure::column_range(p->weight, r * shard, (r + 1) * shard));
      add(p->with_bias(part), fmt::format("has the part of rank {} of {} alone", r, ranks));
      if (ranks == 2) continue;
      add(measure::map(whole, part, [](double a, double b) { return a - b; }),
          fmt::format("lacks the part of rank {} of {}", r, ranks));
    }
  }
  return best_finding(std::move(found));
}

// The weight is multiplied with a number; the bias is not.
std::vector<Finding> scale(const Site& site) {
  const auto p = product_of(site);
  if (!p) return {};
  Array reference = without_bias(p->reference, p->bias);
  auto factor = measure::whole_factor(without_bias(p->port, p->bias), reference, site.bar);
  // The bias too: then it is the block's outcome that is multiplied.
  const bool is_outcome = !factor;
  if (is_outcome) {
    reference = p->reference;
    factor = measure::whole_factor(p->port, reference, site.bar);
  }
  if (!factor || *factor == 0 || *factor == 1) return {};
  const double octaves = std::log2(std::abs(*factor));
  const bool is_power = std::abs(octaves - std::round(octaves)) < number_tolerance(site);
  const std::string key = config_key_of(site, *factor, 1e-4);
  const std::string inverse = config_key_of(site, 1 / *factor, 1e-4);
  const bool is_known = is_power || !key.empty() || !inverse.empty();
  return {with_errors(site,
                      {fmt::format("the port's {} is {} times the reference's",
                                   is_outcome ? "outcome" : "weight", number_text(*factor)),
                       "apply the weight's scale, or the block's multiplier, once",
                       {{"factor of the weight", number_text(*factor), "1"}},
                       0,
                       0,
                       is_known ? 0 : 1},
                      p->with_bias(measure::scaled(reference, *factor)), p->reference)};
}

// Columns [first, last] in which both outcomes differ.
struct Range {
  int64_t begin = -1, end = -1;
};
Range differing_columns(const Product& p, double bar) {
  Range range;
  for (int64_t c = 0; c < p.port.width(); ++c) {
    double dd = 0, rr = 0;
    for (int64_t r = 0; r < p.port.rows(); ++r) {
      const double d = measure::at(p.port, r, c) - measure::at(p.reference, r, c);
      dd += d * d;
      rr += measure::at(p.reference, r, c) * measure::at(p.reference, r, c);
    }
    if (std::sqrt(dd) <= measure::kRowFactor * bar * std::sqrt(rr)) continue;
    if (range.begin < 0) range.begin = c;
    range.end = c + 1;
  }
  return range;
}

// One square block of the weight is multiplied with a number.
std::vector<Finding> block_scale(const Site& site) {
  const auto p = product_of(site);
  if (!p) return {};
  const Range rows = differing_columns(*p, site.bar);
  if (rows.begin < 0) return {};
  const Array whole = p->with_bias(measure::product(p->x, p->weight));
  const Array difference =
      measure::map(p->port, p->reference, [](double a, double b) { return a - b; });
  std::vector<Finding> found;
  for (const int64_t size : {32, 64, 128}) {
    if (rows.begin % size != 0 || rows.end - rows.begin > size) continue;
    const int64_t end = std::min(rows.begin + size, p->weight.rows());
    for (int64_t c = 0; c < p->x.width(); c += size) {
      const int64_t last = std::min(c + size, p->x.width());
      const Array block =
          measure::column_range(measure::row_range(p->weight, rows.begin, end), c, last);
      const Array part = measure::product(measure::column_range(p->x, c, last), block);
      double dp = 0, pp = 0;
      for (int64_t r = 0; r < part.rows(); ++r) {
        for (int64_t i = 0; i < part.width(); ++i) {
          dp += measure::at(part, r, i) * measure::at(difference, r, rows.begin + i);
          pp += measure::at(part, r, i) * measure::at(part, r, i);
        }
      }
      if (!(pp > 0)) continue;
      Array other = whole;
      for (int64_t r = 0; r < part.rows(); ++r) {
        for (int64_t i = 0; i < part.width(); ++i) {
          measure::at(other, r, rows.begin + i) += dp / pp * measure::at(part, r, i);
        }
      }
      found.push_back(with_errors(
          site,
          {fmt::format("rows {}..{}, columns {}..{} of the port's weight are {} times the "
                       "reference's",
                       rows.begin, end - 1, c, last - 1, number_text(1 + dp / pp)),
           "apply the scale of each block of the weight once",
           {{"factor of the block", number_text(1 + dp / pp), "1"}},
           0,
           0,
           1},
          other, whole));
    }
  }
  return best_finding(std::move(found));
}

// Every token has the same outcome in the port: nothing but the bias, if that.
std::vector<Finding> never_loaded(const Site& site) {
  const auto p = product_of(site);
  if (!p || p->port.rows() < 2) return {};
  const Array zero = measure::scaled(p->port, 0);
  return {with_errors(site,
                      {"the port's weight is zero: nothing but the bias comes out",
                       "load the weight under the name that the checkpoint has",
                       {{"weight", "0", "as stored"}}},
                      p->with_bias(zero), p->with_bias(measure::product(p->x, p->weight)))};
}

// The bias as the port has it, times a whole number.
std::vector<Finding> bias_times(const Site& site) {
  const auto p = product_of(site);
  if (!p || p->bias.values.empty() || site.geometry.layer < 0) return {};
  const Array sum = measure::product(p->x, p->weight);
  const auto with = [&](double n) { return measure::sum(sum, measure::scaled(p->bias, n)); };
  std::vector<Finding> found;
  for (const double n : {-1.0, 0.0, 2.0, 3.0, 4.0, 8.0}) {
    found.push_back(
        either_way(site, with(1), with(n),
                   {fmt::format("the reference adds the bias {} times, the port once", n),
                    "add it so often",
                    {{"bias", "once", fmt::format("{} times", n)}}},
                   {fmt::format("the port adds the bias {} times, the reference once", n),
                    "add it once",
                    {{"bias", fmt::format("{} times", n), "once"}}}));
  }
  return best_finding(std::move(found));
}

// Only some of a product's inputs are gated: the reference multiplies with another value first.
std::vector<Finding> gate_left_out(const Site& site) {
  const auto p = product_of(site);
  if (!p || site.path.find('.') == std::string::npos) return {};
  const std::string block = site.path.substr(0, site.path.rfind('.') + 1);
  const Array base = p->with_bias(measure::product(p->x, p->weight));
  std::vector<Finding> found;
  for (const std::string& path : site.tap_paths()) {
    const Array* tap = path.starts_with(block) ? site.tap(path) : nullptr;
    if (tap == nullptr || tap->elements() != p->x.elements()) continue;
    const Array gated =
        measure::map(p->x, reshaped(*tap, p->x.shape), [](double a, double b) { return a * b; });
    found.push_back(with_errors(site,
                                {"the reference multiplies by " + path + " before this product",
                                 "multiply by " + path,
                                 {{"gate", "none", path}}},
                                base, p->with_bias(measure::product(gated, p->weight))));
  }
  return best_finding(std::move(found));
}

}  // namespace

std::vector<Cause> partial_product_causes() {
  return {
      {"partial_sum", 60, "sum over ranks", "", "linear", "", partial_sum},
      {"weight_scaled", 56, "scale of the weight", "", "linear", "", scale},
      {"block_scale", 56, "scale of a block of the weight", "", "linear", "", block_scale},
      {"weight_zero", 57, "weight never loaded", "", "linear", "", never_loaded},
      {"projection_bias", 30, "bias of a projection", "", "linear", "", bias_times},
      {"gate_left_out", 50, "gate or part left out", "", "linear", "", gate_left_out},
  };
}

}  // namespace lockstep::parity
