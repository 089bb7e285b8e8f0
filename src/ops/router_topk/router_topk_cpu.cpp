// k passes over a row: a router's row is short beside the products that follow it.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/element.h"
#include "ops/router_topk/router_topk.h"

namespace lockstep::ops {
namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();

/// Softmax in place; x - max is what rounds least.
void soft_max(float* values, double* exps, int64_t n) {
  double max = -std::numeric_limits<double>::infinity(), total = 0;
  for (int64_t i = 0; i < n; ++i) max = std::max(max, static_cast<double>(values[i]));
  for (int64_t i = 0; i < n; ++i) {
    exps[i] = std::exp(static_cast<double>(values[i]) - max);
    total += exps[i];
  }
  for (int64_t i = 0; i < n; ++i) values[i] = static_cast<float>(exps[i] / total);
}

/// The first of those not yet taken.
int64_t take_first(const float* values, int64_t n, bool* taken) {
  int64_t best = -1;
  for (int64_t i = 0; i < n; ++i) {
    if (taken[i]) continue;
    if (best < 0 || ranks_before(values[i], i, values[best], best)) best = i;
  }
  taken[best] = true;
  return best;
}

/// What a worker needs for a row.
struct Row {
  double* exps;   // [n_experts]
  float* scores;  // [n_experts]
  float* choice;  // [n_experts]
  float* groups;  // [n_experts]
  bool* taken;    // [n_experts]

  static size_t bytes(int64_t n) {
    return static_cast<size_t>(n) * (sizeof(double) + 3 * sizeof(float) + sizeof(bool));
  }
  Row(void* scratch, int64_t n)
      : exps(static_cast<double*>(scratch)),
        scores(reinterpret_cast<float*>(exps + n)),
        choice(scores + n),
        groups(choice + n),
        taken(reinterpret_cast<bool*>(groups + n)) {}
};

void mask_groups(const RouterTopkArgs& args, const Row& row) {
  const int64_t size = args.n_experts / args.n_group;
  std::fill_n(row.taken, args.n_experts, false);
  for (int64_t g = 0; g < args.n_group; ++g) {
    const float* choice = row.choice + g * size;
    const float first = choice[take_first(choice, size, row.taken + g * size)];
    row.groups[g] =
        args.group_by_best ? first : first + choice[take_first(choice, size, row.taken + g * size)];
  }
  std::fill_n(row.taken, args.n_group, false);
  for (int64_t i = 0; i < args.topk_group; ++i) take_first(row.groups, args.n_group, row.taken);
  for (int64_t g = 0; g < args.n_group; ++g) {
    if (!row.taken[g]) std::fill_n(row.choice + g * size, size, kLowest);
  }
}

void route(const RouterTopkArgs& args, int64_t r, const Row& row) {
  const int64_t n = args.n_experts;
  for (int64_t e = 0; e < n; ++e) row.scores[e] = load_float(args.logits, args.dtype, r * n + e);
  if (args.sigmoid) {
    for (int64_t e = 0; e < n; ++e) {
      row.scores[e] = static_cast<float>(1 / (1 + std::exp(-static_cast<double>(row.scores[e]))));
    }
  } else if (!args.topk_first) {
    soft_max(row.scores, row.exps, n);
  }
  std::copy_n(row.scores, n, row.choice);
  if (args.bias != nullptr) {
    for (int64_t e = 0; e < n; ++e) row.choice[e] += load_float(args.bias, args.bias_dtype, e);
  }
  if (args.n_group > 1) mask_groups(args, row);
  std::fill_n(row.taken, n, false);
  int32_t* ids = args.ids + r * args.k;
  float* weights = args.weights + r * args.k;
  for (int64_t i = 0; i < args.k; ++i) {
    ids[i] = static_cast<int32_t>(take_first(row.choice, n, row.taken));
    weights[i] = row.scores[ids[i]];
  }
  if (args.topk_first) soft_max(weights, row.exps, args.k);
  if (args.normalise) {
    float sum = 0;
    for (int64_t i = 0; i < args.k; ++i) sum += weights[i];
    for (int64_t i = 0; i < args.k; ++i) weights[i] /= sum + 1e-20f;
  }
  for (int64_t i = 0; i < args.k; ++i) weights[i] *= args.scaling;
}

}  // namespace

void router_topk_cpu(const RouterTopkArgs& args, ThreadPool& pool) noexcept {
  const int64_t grain = 1 + 4096 / (args.n_experts * args.k);
  pool.parallel_for(args.n_rows, grain, [&](int64_t begin, int64_t end, int worker) {
    const Row row(pool.scratch(worker, Row::bytes(args.n_experts)), args.n_experts);
    for (int64_t r = begin; r < end; ++r) route(args, r, row);
  });
}

}  // namespace lockstep::ops
