#include "parity/routing.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "parity/anatomy.h"
#include "tensor/dtype.h"

namespace lockstep::parity {
namespace {

int64_t offset_of(const View& view, int64_t row, int64_t column) {
  int64_t out = row * view.stride[0];
  for (int i = view.rank - 1; i >= 1; --i) {
    out += column % view.shape[i] * view.stride[i];
    column /= view.shape[i];
  }
  return out;
}

/// Ids of the `n` highest, of equals the lower id.
Choice highest(const std::vector<double>& values, int n) {
  Choice order(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::partial_sort(order.begin(), order.begin() + n, order.end(), [&](int64_t a, int64_t b) {
    return values[a] != values[b] ? values[a] > values[b] : a < b;
  });
  order.resize(n);
  std::sort(order.begin(), order.end());
  return order;
}

Choice choice_of(const std::vector<double>& logits, const RouterConfig& router) {
  if (router.groups <= 1 || router.groups_chosen >= router.groups) {
    return highest(logits, router.chosen);
  }
  const size_t size = logits.size() / router.groups;
  std::vector<double> scores, of_group;
  for (const double x : logits) scores.push_back(1 / (1 + std::exp(-x)));
  for (int g = 0; g < router.groups; ++g) {
    std::vector<double> group(scores.begin() + g * size, scores.begin() + (g + 1) * size);
    std::sort(group.rbegin(), group.rend());
    of_group.push_back(group[0] + (size > 1 ? group[1] : 0));
  }
  const Choice best = highest(of_group, router.groups_chosen);
  for (size_t i = 0; i < scores.size(); ++i) {
    if (!std::binary_search(best.begin(), best.end(), static_cast<int64_t>(i / size))) {
      scores[i] = -1;
    }
  }
  return highest(scores, router.chosen);
}

std::vector<double> row_of(const View& view, int64_t row) {
  std::vector<double> out(static_cast<size_t>(view.elements() / view.shape[0]));
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = load_element(view.data, view.dtype, offset_of(view, row, static_cast<int64_t>(i)));
  }
  return out;
}

double rms(const std::vector<double>& values) {
  return std::sqrt(std::inner_product(values.begin(), values.end(), values.begin(), 0.0) /
                   static_cast<double>(values.size()));
}

}  // namespace

std::optional<std::vector<Choice>> choices_of_scores(const View& scores,
                                                     const RouterConfig& router) {
  if (router.experts < 2 || router.chosen < 1 || router.chosen >= router.experts) return {};
  if (scores.rank != 2 || scores.shape[1] != router.experts || !is_floating(scores.dtype))
    return {};
  if (router.groups > 1 && router.experts % router.groups != 0) return {};
  std::vector<Choice> out;
  for (int64_t t = 0; t < scores.shape[0]; ++t) out.push_back(choice_of(row_of(scores, t), router));
  return out;
}

std::optional<std::vector<Choice>> choices_of_ids(const View& ids, const RouterConfig& router) {
  if (ids.rank != 2 || ids.shape[1] != router.chosen || is_floating(ids.dtype)) return {};
  std::vector<Choice> out;
  for (int64_t t = 0; t < ids.shape[0]; ++t) {
    Choice choice;
    for (const double id : row_of(ids, t)) choice.push_back(static_cast<int64_t>(id));
    std::sort(choice.begin(), choice.end());
    out.push_back(std::move(choice));
  }
  return out;
}

bool is_sorted_by_expert(const Tap& tap, int64_t tokens, const RouterConfig& router) {
  return router.chosen > 1 && tap.info.role == TapRole::kOutput && dissect(tap.info.path).routing &&
         tap.view.rank == 1 && tap.view.shape[0] == tokens * router.chosen;
}

int64_t Rerouting::first() const noexcept {
  return std::find(elsewhere_.begin(), elsewhere_.end(), true) - elsewhere_.begin();
}

int64_t Rerouting::count() const noexcept {
  return std::count(elsewhere_.begin(), elsewhere_.end(), true);
}

bool Rerouting::is_tie(int64_t token, const Choice& reference, const Choice& port) const {
  const double noise = last_->noise[token];
  // Between groups of experts the margin is one of sums; there each score has to be near.
  if (router_.groups > 0) return last_->apart[token] <= noise / 2;
  double least = INFINITY, most = -INFINITY;
  for (int64_t id = 0; id < router_.experts; ++id) {
    const bool in_reference = std::binary_search(reference.begin(), reference.end(), id);
    const bool in_port = std::binary_search(port.begin(), port.end(), id);
    const double score = last_->rows[token][id];
    if (in_reference && !in_port) least = std::min(least, score);
    if (in_port && !in_reference) most = std::max(most, score);
  }
  return least - most <= noise;
}

int64_t Rerouting::look(const TapDiff& tap, std::vector<Rerouted>& told) {
  const TapInfo& info = tap.port->info;
  const Anatomy a = dissect(info.path);
  const View &ref = tap.reference->view, &port = tap.port->view;
  if (!a.routing || info.role != TapRole::kOutput || ref.rank != 2 || ref.shape[0] != tokens() ||
      ref.shape != port.shape) {
    return -1;
  }
  const bool from_ids = !is_floating(ref.dtype) && !is_floating(port.dtype);
  const auto r = from_ids ? choices_of_ids(ref, router_) : choices_of_scores(ref, router_);
  const auto p = from_ids ? choices_of_ids(port, router_) : choices_of_scores(port, router_);
  if (!r || !p) return -1;
  complete_ = complete_ || from_ids || router_.groups == 0;
  if (!from_ids) {
    last_ = Scores{a.layer, *r, {}, {}, {}};
    for (int64_t t = 0; t < tokens(); ++t) {
      last_->rows.push_back(row_of(ref, t));
      const auto &values = last_->rows.back(), other = row_of(port, t);
      last_->noise.push_back(tap.floor ? 4 * std::sqrt(2.0) * tap.floor->total * rms(values) : 0);
      double apart = 0;
      for (size_t i = 0; i < values.size(); ++i) {
        apart = std::max(apart, std::abs(values[i] - other[i]));
      }
      last_->apart.push_back(apart);
    }
  }
  // The reference's own ids say whether its scores tell the choice (a bias may be added to them).
  const bool weighed = last_ && last_->layer == a.layer && last_->reference == *r;
  Rerouted found{tap.key, 0, 0};
  int64_t fault = -1;
  std::vector<bool> fresh(elsewhere_.size(), false);
  for (int64_t t = 0; t < tokens(); ++t) {
    if ((*r)[t] == (*p)[t]) continue;
    ++found.tokens;
    if (at(t)) continue;
    if (weighed && !is_tie(t, (*r)[t], (*p)[t])) {
      ++found.clear;
      if (from_ids && fault < 0) fault = t;
      continue;
    }
    fresh[t] = true;
    unproven_ = unproven_ || !weighed;
  }
  for (size_t t = 0; t < fresh.size(); ++t) elsewhere_[t] = elsewhere_[t] || fresh[t];
  if (found.tokens > 0) told.push_back(found);
  return fault;
}

std::optional<TapMetrics> compare_rest(const TapDiff& tap, const std::vector<bool>& elsewhere,
                                       const CompareOptions& options, ThreadPool& pool) {
  const bool heads_first = options.heads_first;
  const auto pairing = pair_shapes(tap.reference->view, tap.port->view, heads_first);
  if (!pairing || tap.port->info.path.ends_with("_state")) return {};
  const auto tokens = static_cast<int64_t>(elsewhere.size());
  const int64_t rows = pairing->layout.rows, columns = pairing->layout.channels;
  const int64_t heads = heads_first ? rows / pairing->layout.tokens : 1;
  const int64_t per_token = heads_first ? 1 : rows / tokens;
  if (rows == 0 || rows != heads * tokens * per_token) return {};
  const int64_t kept = std::count(elsewhere.begin(), elsewhere.end(), false);
  std::vector<float> both[2];
  for (const bool port : {false, true}) {
    const View& view = port ? pairing->port : pairing->reference;
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t token = heads_first ? row % tokens : row / per_token;
      if (elsewhere[static_cast<size_t>(token)]) continue;
      for (int64_t c = 0; c < columns; ++c) {
        const int64_t at = heads_first ? row / tokens * view.stride[0] + token * view.stride[1] +
                                             c * view.stride[2]
                                       : offset_of(view, row, c);
        both[port].push_back(static_cast<float>(load_element(view.data, view.dtype, at)));
      }
    }
  }
  const std::vector<int64_t> flat = {kept * per_token, columns};
  const std::vector<int64_t> by_head = {heads, kept, columns};
  const auto& shape = heads_first ? by_head : flat;
  CompareOptions own = options;
  own.drop_reference = own.drop_port = false;
  return compare(make_view(both[0].data(), DType::kFloat32, shape),
                 make_view(both[1].data(), DType::kFloat32, shape), own, pool);
}

}  // namespace lockstep::parity
