#include "parity/measure/pattern.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

namespace lockstep::parity::measure {
namespace {

bool same_size(const Array& a, const Array& b) {
  return a.rows() == b.rows() && a.width() == b.width() && !a.values.empty();
}

// Least squares: found = factor * expected, group by group.
struct Products {
  double fe = 0, ee = 0;
  double factor() const { return ee > 0 ? fe / ee : 1; }
};

// The factors of the groups that `group_of` puts elements into, if they explain everything.
template <class GroupOf>
std::optional<std::vector<double>> group_factors(const Array& found, const Array& expected,
                                                 int64_t n_groups, double bar,
                                                 const GroupOf& group_of) {
  if (!same_size(found, expected)) return {};
  std::vector<Products> groups(static_cast<size_t>(n_groups));
  for (int64_t r = 0; r < found.rows(); ++r) {
    for (int64_t c = 0; c < found.width(); ++c) {
      Products& group = groups[static_cast<size_t>(group_of(r, c))];
      group.fe += at(found, r, c) * at(expected, r, c);
      group.ee += at(expected, r, c) * at(expected, r, c);
    }
  }
  Array made = expected;
  for (int64_t r = 0; r < found.rows(); ++r) {
    for (int64_t c = 0; c < found.width(); ++c) {
      at(made, r, c) *= groups[static_cast<size_t>(group_of(r, c))].factor();
    }
  }
  if (!reproduces(made, found, bar)) return {};
  std::vector<double> factors;
  for (const Products& group : groups) factors.push_back(group.factor());
  return factors;
}

double norm2(std::span<const double> x) {
  return std::inner_product(x.begin(), x.end(), x.begin(), 0.0);
}

double distance2(std::span<const double> a, std::span<const double> b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return sum;
}

// One number a row, the same for the same row: what rows are sorted and looked up by.
std::vector<double> signatures(const Array& m, const std::vector<double>& weights) {
  std::vector<double> out;
  for (int64_t r = 0; r < m.rows(); ++r) {
    const std::span<const double> values = row(m, r);
    out.push_back(std::inner_product(values.begin(), values.end(), weights.begin(), 0.0));
  }
  return out;
}

}  // namespace

std::optional<double> whole_factor(const Array& found, const Array& expected, double bar) {
  const auto factors =
      group_factors(found, expected, 1, bar, [](int64_t, int64_t) { return int64_t{0}; });
  return factors ? std::optional(factors->front()) : std::nullopt;
}

std::optional<std::vector<double>> row_factors(const Array& found, const Array& expected,
                                               double bar) {
  return group_factors(found, expected, found.rows(), bar, [](int64_t r, int64_t) { return r; });
}

std::optional<std::vector<double>> column_factors(const Array& found, const Array& expected,
                                                  double bar) {
  return group_factors(found, expected, found.width(), bar, [](int64_t, int64_t c) { return c; });
}

std::optional<std::vector<double>> run_factors(const Array& found, const Array& expected,
                                               int64_t width, double bar) {
  if (width < 1 || found.width() % width != 0) return {};
  return group_factors(found, expected, found.width() / width, bar,
                       [=](int64_t, int64_t c) { return c / width; });
}

std::optional<std::vector<double>> block_factors(const Array& found, const Array& expected,
                                                 int64_t rows, int64_t columns, double bar) {
  if (rows < 1 || columns < 1) return {};
  const int64_t across = (found.width() + columns - 1) / columns;
  const int64_t down = (found.rows() + rows - 1) / rows;
  return group_factors(found, expected, down * across, bar,
                       [=](int64_t r, int64_t c) { return r / rows * across + c / columns; });
}

std::optional<std::vector<double>> row_addend(const Array& found, const Array& expected,
                                              double bar) {
  if (!same_size(found, expected) || found.rows() < 2) return {};
  std::vector<double> addend(static_cast<size_t>(found.width()));
  for (int64_t r = 0; r < found.rows(); ++r) {
    for (int64_t c = 0; c < found.width(); ++c) {
      addend[static_cast<size_t>(c)] +=
          (at(found, r, c) - at(expected, r, c)) / static_cast<double>(found.rows());
    }
  }
  Array made = expected;
  for (int64_t r = 0; r < found.rows(); ++r) {
    for (int64_t c = 0; c < found.width(); ++c) at(made, r, c) += addend[static_cast<size_t>(c)];
  }
  if (!reproduces(made, found, bar)) return {};
  return addend;
}

std::optional<std::vector<int64_t>> row_places(const Array& found, const Array& expected,
                                               double bar) {
  if (found.width() != expected.width() || found.values.empty() || expected.values.empty())
    return {};
  std::mt19937_64 random(1);
  std::normal_distribution<double> normal;
  std::vector<double> weights(static_cast<size_t>(found.width()));
  for (double& w : weights) w = normal(random);
  const double weight_norm = std::sqrt(norm2(weights));
  const std::vector<double> of_found = signatures(found, weights);
  const std::vector<double> of_expected = signatures(expected, weights);
  std::vector<int64_t> order(static_cast<size_t>(expected.rows()));
  std::iota(order.begin(), order.end(), 0);
  const auto signature = [&](int64_t r) { return of_expected[static_cast<size_t>(r)]; };
  std::ranges::sort(order, {}, signature);

  std::vector<int64_t> places;
  for (int64_t r = 0; r < found.rows(); ++r) {
    const double norm = std::sqrt(norm2(row(found, r)));
    if (norm == 0) {
      places.push_back(-1);
      continue;
    }
    const double reach = kRowFactor * bar * norm;
    const double low = of_found[static_cast<size_t>(r)] - reach * weight_norm;
    int64_t best = -1;
    for (auto at = std::ranges::lower_bound(order, low, {}, signature); at != order.end(); ++at) {
      if (signature(*at) > of_found[static_cast<size_t>(r)] + reach * weight_norm) break;
      if (distance2(row(found, r), row(expected, *at)) > reach * reach) continue;
      if (best < 0 || std::abs(*at - r) < std::abs(best - r)) best = *at;
    }
    if (best < 0) return {};
    places.push_back(best);
  }
  return places;
}

std::optional<std::vector<int64_t>> column_places(const Array& found, const Array& expected,
                                                  double bar) {
  return row_places(transposed(found), transposed(expected), bar);
}

std::optional<double> constant(const std::vector<double>& factors, double bar) {
  if (factors.empty()) return {};
  const double mean =
      std::accumulate(factors.begin(), factors.end(), 0.0) / static_cast<double>(factors.size());
  for (const double factor : factors) {
    if (!(std::abs(factor - mean) <= bar * std::abs(mean))) return {};
  }
  return mean;
}

bool agree(const std::vector<double>& a, const std::vector<double>& b, double bar) {
  if (a.size() != b.size()) return false;
  const double norm = std::sqrt(std::max(norm2(a), norm2(b)));
  return std::sqrt(distance2(a, b)) <= bar * norm;
}

}  // namespace lockstep::parity::measure
