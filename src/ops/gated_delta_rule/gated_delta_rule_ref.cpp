#include <cmath>

#include "kernels/element.h"
#include "ops/gated_delta_rule/gated_delta_rule.h"

namespace lockstep::ops {
namespace {

/// 1 / sqrt(sum x^2 + 1e-6) of the `n` elements from `at` on.
double inverse_norm(const void* x, DType dtype, int64_t at, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double value = load_float(x, dtype, at + i);
    sum += value * value;
  }
  return 1 / std::sqrt(sum + 1e-6);
}

void advance(const GatedDeltaRuleArgs& args, int64_t t, int64_t head, float* state) {
  const int64_t n = args.key_dim, width = args.value_dim;
  const int64_t row = t * args.n_heads + head;
  const int64_t key = (t * args.n_key_heads + head / (args.n_heads / args.n_key_heads)) * n;
  const double q_scale =
      inverse_norm(args.q, args.dtype, key, n) / std::sqrt(static_cast<double>(n));
  const double k_scale = inverse_norm(args.k, args.dtype, key, n);
  const double decay = std::exp(double{args.g[row]});
  for (int64_t j = 0; j < width; ++j) {
    double memory = 0, y = 0;
    for (int64_t i = 0; i < n; ++i) {
      memory += state[i * width + j] * decay * load_float(args.k, args.dtype, key + i) * k_scale;
    }
    const double error = load_float(args.beta, args.dtype, row) *
                         (load_float(args.v, args.dtype, row * width + j) - memory);
    for (int64_t i = 0; i < n; ++i) {
      float& cell = state[i * width + j];
      cell = static_cast<float>(cell * decay +
                                load_float(args.k, args.dtype, key + i) * k_scale * error);
      y += cell * load_float(args.q, args.dtype, key + i) * q_scale;
    }
    store_float(args.y, args.dtype, row * width + j, static_cast<float>(y));
  }
}

}  // namespace

void gated_delta_rule_ref(const GatedDeltaRuleArgs& args, ThreadPool& pool) noexcept {
  delta_rule_decays(args, pool);
  for (int64_t s = 0; s < args.n_sequences; ++s) {
    for (int64_t t = args.row_offsets[s]; t < args.row_offsets[s + 1]; ++t) {
      for (int64_t head = 0; head < args.n_heads; ++head) {
        advance(args, t, head,
                args.state + (args.slots[s] * args.n_heads + head) * args.key_dim * args.value_dim);
      }
    }
  }
}

}  // namespace lockstep::ops
