// By definition: an expert's place is the number of experts that rank before it.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/element.h"
#include "ops/router_topk/router_topk.h"

namespace lockstep::ops {
namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();

int64_t place_of(const float* values, int64_t n, int64_t i) {
  int64_t place = 0;
  for (int64_t j = 0; j < n; ++j) place += ranks_before(values[j], j, values[i], i);
  return place;
}

void scores_of(const RouterTopkArgs& args, const float* logits, float* scores) {
  double max = -std::numeric_limits<double>::infinity(), total = 0;
  for (int64_t e = 0; e < args.n_experts; ++e) {
    max = std::max(max, static_cast<double>(logits[e]));
  }
  for (int64_t e = 0; e < args.n_experts; ++e) {
    total += std::exp(static_cast<double>(logits[e]) - max);
  }
  for (int64_t e = 0; e < args.n_experts; ++e) {
    const double x = logits[e];
    scores[e] =
        static_cast<float>(args.sigmoid ? 1 / (1 + std::exp(-x)) : std::exp(x - max) / total);
  }
}

void mask_groups(const RouterTopkArgs& args, float* groups, float* choice) {
  const int64_t size = args.n_experts / args.n_group;
  for (int64_t g = 0; g < args.n_group; ++g) {
    float best[2] = {};
    for (int64_t e = 0; e < size; ++e) {
      const int64_t place = place_of(choice + g * size, size, e);
      if (place < 2) best[place] = choice[g * size + e];
    }
    groups[g] = args.group_by_best ? best[0] : best[0] + best[1];
  }
  for (int64_t g = 0; g < args.n_group; ++g) {
    if (place_of(groups, args.n_group, g) < args.topk_group) continue;
    std::fill_n(choice + g * size, size, kLowest);
  }
}

void softmax_of_chosen(const RouterTopkArgs& args, float* weights) {
  double total = 0;
  const double max = weights[0];
  for (int64_t i = 0; i < args.k; ++i) total += std::exp(static_cast<double>(weights[i]) - max);
  for (int64_t i = 0; i < args.k; ++i) {
    weights[i] = static_cast<float>(std::exp(static_cast<double>(weights[i]) - max) / total);
  }
}

}  // namespace

void router_topk_ref(const RouterTopkArgs& args, ThreadPool& pool) noexcept {
  const int64_t n = args.n_experts;
  auto* logits = static_cast<float*>(pool.scratch(0, static_cast<size_t>(4 * n) * sizeof(float)));
  float *scores = logits + n, *choice = scores + n, *groups = choice + n;
  for (int64_t r = 0; r < args.n_rows; ++r) {
    int32_t* ids = args.ids + r * args.k;
    float* weights = args.weights + r * args.k;
    for (int64_t e = 0; e < n; ++e) logits[e] = load_float(args.logits, args.dtype, r * n + e);
    scores_of(args, logits, scores);
    if (args.topk_first) std::copy_n(logits, n, scores);
    for (int64_t e = 0; e < n; ++e) {
      choice[e] = scores[e];
      if (args.bias != nullptr) choice[e] += load_float(args.bias, args.bias_dtype, e);
    }
    if (args.n_group > 1) mask_groups(args, groups, choice);
    for (int64_t e = 0; e < n; ++e) {
      const int64_t place = place_of(choice, n, e);
      if (place >= args.k) continue;
      ids[place] = static_cast<int32_t>(e);
      weights[place] = scores[e];
    }
    if (args.topk_first) softmax_of_chosen(args, weights);
    float sum = 0;
    for (int64_t i = 0; i < args.k; ++i) sum += weights[i];
    for (int64_t i = 0; i < args.k; ++i) {
      if (args.normalise) weights[i] /= sum + 1e-20f;
      weights[i] *= args.scaling;
    }
  }
}

}  // namespace lockstep::ops
