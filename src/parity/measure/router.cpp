#include "parity/measure/router.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "parity/measure/rounding.h"

namespace lockstep::parity::measure {
namespace {

constexpr double kLowest = -std::numeric_limits<double>::infinity();

std::vector<double> softmax(std::vector<double> x) {
  const double most = *std::ranges::max_element(x);
  double total = 0;
  for (double& v : x) total += v = std::exp(v - most);
  for (double& v : x) v /= total;
  return x;
}

std::vector<double> scores_of(std::span<const double> logits, const RouterForm& form) {
  std::vector<double> x(logits.begin(), logits.end());
  for (double& v : x) v = rounded(v, form.logits_type);
  if (form.scoring == Scoring::kSoftmax) return softmax(std::move(x));
  if (form.scoring == Scoring::kSigmoid) {
    for (double& v : x) v = 1 / (1 + std::exp(-v));
  }
  return x;
}

double bias_at(const Array& bias, size_t e) { return bias.values.empty() ? 0 : bias.values[e]; }

// Indices of the n greatest, greatest first; equal ones by the lower index.
std::vector<int64_t> greatest(const std::vector<double>& x, int64_t n) {
  std::vector<int64_t> order(x.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](int64_t a, int64_t b) {
    return x[static_cast<size_t>(a)] > x[static_cast<size_t>(b)];
  });
  order.resize(static_cast<size_t>(std::min<int64_t>(n, static_cast<int64_t>(x.size()))));
  return order;
}

// What stands outside the best groups cannot be chosen.
void keep_best_groups(std::vector<double>& choice, const RouterForm& form) {
  const size_t width = choice.size() / static_cast<size_t>(form.n_group);
  std::vector<double> group_scores;
  for (size_t g = 0; g < static_cast<size_t>(form.n_group); ++g) {
    std::vector<double> of_group(choice.begin() + static_cast<int64_t>(g * width),
                                 choice.begin() + static_cast<int64_t>((g + 1) * width));
    std::ranges::sort(of_group, std::greater());
    const bool two = !form.group_by_best && of_group.size() > 1;
    group_scores.push_back(of_group[0] + (two ? of_group[1] : 0));
  }
  const std::vector<int64_t> kept = greatest(group_scores, form.topk_group);
  for (size_t e = 0; e < choice.size(); ++e) {
    if (std::ranges::find(kept, static_cast<int64_t>(e / width)) == kept.end()) choice[e] = kLowest;
  }
}

std::vector<int64_t> choose(std::span<const double> logits, const Array& bias,
                            const RouterForm& form) {
  std::vector<double> choice = scores_of(logits, form);
  for (size_t e = 0; e < choice.size(); ++e) {
    if (form.biased_choice) choice[e] += bias_at(bias, e);
  }
  if (form.n_group > 1) keep_best_groups(choice, form);
  return greatest(choice, form.top_k);
}

std::vector<double> weigh(std::span<const double> logits, const Array& bias,
                          std::span<const double> ids, const RouterForm& form) {
  const std::vector<double> scores = scores_of(logits, form);
  std::vector<double> weights;
  for (const double id : ids) {
    const auto e = static_cast<size_t>(id);
    weights.push_back(scores[e] + (form.biased_weights ? bias_at(bias, e) : 0));
  }
  if (form.scoring == Scoring::kChosenSoftmax) weights = softmax(std::move(weights));
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  for (double& w : weights) w *= form.scaling / (form.normalise ? total + 1e-20 : 1);
  return weights;
}

}  // namespace

Routing route(const Array& logits, const Array& bias, const RouterForm& form) {
  Routing routing{matrix(logits.rows(), form.top_k), matrix(logits.rows(), form.top_k)};
  for (int64_t t = 0; t < logits.rows(); ++t) {
    const std::vector<int64_t> ids = choose(row(logits, t), bias, form);
    std::ranges::copy(ids, routing.ids.row(t));
  }
  routing.weights = weights_of(logits, bias, routing.ids, form);
  return routing;
}

Array weights_of(const Array& logits, const Array& bias, const Array& ids, const RouterForm& form) {
  Array weights = ids;
  for (int64_t t = 0; t < ids.rows(); ++t) {
    std::ranges::copy(weigh(row(logits, t), bias, row(ids, t), form), weights.row(t));
  }
  return weights;
}

double other_choices(const Array& a, const Array& b) {
  if (a.rows() != b.rows() || a.rows() == 0) return 1;
  int64_t other = 0;
  for (int64_t t = 0; t < a.rows(); ++t) {
    const std::span<const double> x = row(a, t), y = row(b, t);
    other += std::multiset<double>(x.begin(), x.end()) != std::multiset<double>(y.begin(), y.end());
  }
  return static_cast<double>(other) / static_cast<double>(a.rows());
}

std::optional<std::vector<int64_t>> measure_relabelling(const Array& from, const Array& to,
                                                        int64_t n_experts) {
  if (from.values.size() != to.values.size()) return {};
  std::vector<int64_t> label(static_cast<size_t>(n_experts), -1), taken = label;
  bool moves = false;
  for (size_t i = 0; i < from.values.size(); ++i) {
    const auto a = static_cast<int64_t>(from.values[i]), b = static_cast<int64_t>(to.values[i]);
    if (a < 0 || b < 0 || a >= n_experts || b >= n_experts) return {};
    int64_t& there = label[static_cast<size_t>(a)];
    int64_t& back = taken[static_cast<size_t>(b)];
    if ((there >= 0 && there != b) || (back >= 0 && back != a)) return {};
    there = b;
    back = a;
    moves = moves || a != b;
  }
  if (!moves) return {};
  return label;
}

}  // namespace lockstep::parity::measure
