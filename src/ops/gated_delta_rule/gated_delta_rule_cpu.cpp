// A task is a few columns of the state of one head and sequence, which do not depend on the others,
// through all tokens: they stay in the nearest cache, where the state as a whole does not fit.
// There is no form with products of matrices a chunk at a time: beside 7 K V operations a token
// here it takes 6 K V + 2 C (K + V), with C tokens a chunk.
#include "kernels/cpu/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/gated_delta_rule/gated_delta_rule_cpu.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "kernels/cpu/dot-inl.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd-inl.h"
#include "kernels/element.h"
#include "ops/gated_delta_rule/gated_delta_rule.h"

HWY_BEFORE_NAMESPACE();
namespace lockstep {
namespace HWY_NAMESPACE {
namespace {

using ops::GatedDeltaRuleArgs;

constexpr int kVectors = 4;  // of columns in a task
constexpr int64_t kLanePadding = HWY_MAX_BYTES / sizeof(float);
constexpr int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

/// to[i] = x[i] / sqrt(sum x^2 + 1e-6) * factor for i < n; zeros up to a whole vector.
template <class T>
void normalise(const T* x, int64_t n, float factor, float* to) {
  const F32 d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  widen(x, static_cast<size_t>(n), to, static_cast<size_t>(round_up(n, lanes)));
  VF squares = hn::Zero(d);
  for (int64_t i = 0; i < n; i += lanes) {
    const VF v = hn::LoadU(d, to + i);
    squares = hn::MulAdd(v, v, squares);
  }
  const VF scale = hn::Set(d, factor / std::sqrt(sum_lanes(squares) + 1e-6f));
  for (int64_t i = 0; i < n; i += lanes) {
    hn::StoreU(hn::Mul(hn::LoadU(d, to + i), scale), d, to + i);
  }
}

/// One token: q and k normalised [n], v and y [kColumns vectors], state [n, kColumns vectors].
template <int kColumns>
void advance(float* state, int64_t n, float decay, float beta, const float* q, const float* k,
             const float* v, float* y) {
  const F32 d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const VF keep = hn::Set(d, decay);
  VF memory[kColumns], error[kColumns], sum[kColumns];
  for (int c = 0; c < kColumns; ++c) memory[c] = sum[c] = hn::Zero(d);
  for (int64_t i = 0; i < n; ++i) {
    const VF ki = hn::Set(d, k[i]);
    const float* row = state + i * kColumns * lanes;
    for (int c = 0; c < kColumns; ++c) {
      memory[c] = hn::MulAdd(hn::LoadU(d, row + c * lanes), ki, memory[c]);
    }
  }
  for (int c = 0; c < kColumns; ++c) {
    const VF wrong = hn::NegMulAdd(memory[c], keep, hn::LoadU(d, v + c * lanes));
    error[c] = hn::Mul(wrong, hn::Set(d, beta));
  }
  for (int64_t i = 0; i < n; ++i) {
    const VF ki = hn::Set(d, k[i]), qi = hn::Set(d, q[i]);
    float* row = state + i * kColumns * lanes;
    for (int c = 0; c < kColumns; ++c) {
      const VF kept = hn::Mul(hn::LoadU(d, row + c * lanes), keep);
      const VF s = hn::MulAdd(ki, error[c], kept);
      hn::StoreU(s, d, row + c * lanes);
      sum[c] = hn::MulAdd(s, qi, sum[c]);
    }
  }
  for (int c = 0; c < kColumns; ++c) hn::StoreU(sum[c], d, y + c * lanes);
}

/// Floats of scratch a task needs: q and k, v and y, its columns of the state.
int64_t scratch_floats(const GatedDeltaRuleArgs& args) {
  return 2 * round_up(args.key_dim, kLanePadding) + (args.key_dim + 2) * kVectors * kLanePadding;
}

/// Columns first to last of one head of one sequence, in kColumns vectors.
template <int kColumns, class T>
void run_columns(const GatedDeltaRuleArgs& args, int64_t sequence, int64_t head, int64_t first,
                 int64_t last, float* scratch) {
  const int64_t n = args.key_dim, width = args.value_dim;
  const int64_t stride = kColumns * static_cast<int64_t>(hn::Lanes(F32()));
  const auto columns = static_cast<size_t>(last - first), padded = static_cast<size_t>(stride);
  const int64_t key_head = head / (args.n_heads / args.n_key_heads);
  const float q_factor = 1 / std::sqrt(static_cast<float>(n));
  float* q = scratch;
  float* k = q + round_up(n, kLanePadding);
  float* v = k + round_up(n, kLanePadding);
  float* y = v + stride;
  float* state = y + stride;
  float* stored = args.state + (args.slots[sequence] * args.n_heads + head) * n * width + first;
  for (int64_t i = 0; i < n; ++i) widen(stored + i * width, columns, state + i * stride, padded);
  for (int64_t t = args.row_offsets[sequence]; t < args.row_offsets[sequence + 1]; ++t) {
    const int64_t key = (t * args.n_key_heads + key_head) * n, row = t * args.n_heads + head;
    normalise(static_cast<const T*>(args.q) + key, n, q_factor, q);
    normalise(static_cast<const T*>(args.k) + key, n, 1.0f, k);
    widen(static_cast<const T*>(args.v) + row * width + first, columns, v, padded);
    advance<kColumns>(state, n, std::exp(args.g[row]), load_float(args.beta, args.dtype, row), q, k,
                      v, y);
    map(
        columns, static_cast<T*>(args.y) + row * width + first, [](VF x) HWY_ATTR { return x; }, y);
  }
  for (int64_t i = 0; i < n; ++i) std::copy_n(state + i * stride, columns, stored + i * width);
}

void run_rule(const GatedDeltaRuleArgs& args, ThreadPool& pool) {
  ops::delta_rule_decays(args, pool);
  const auto lanes = static_cast<int64_t>(hn::Lanes(F32()));
  const int64_t group = kVectors * lanes;
  const int64_t n_groups = (args.value_dim + group - 1) / group;
  const auto bytes = static_cast<size_t>(scratch_floats(args)) * sizeof(float);
  visit_activation_type(args.dtype, [&]<class T>(T) HWY_ATTR {
    parallel_tasks(
        pool, args.n_sequences * args.n_heads * n_groups, [&](int64_t task, int worker) HWY_ATTR {
          const int64_t first = task % n_groups * group;
          const int64_t last = std::min(first + group, args.value_dim);
          const int64_t head = task / n_groups % args.n_heads;
          const int64_t sequence = task / n_groups / args.n_heads;
          auto* scratch = static_cast<float*>(pool.scratch(worker, bytes));
          switch ((last - first + lanes - 1) / lanes) {
            case 1:
              return run_columns<1, T>(args, sequence, head, first, last, scratch);
            case 2:
              return run_columns<2, T>(args, sequence, head, first, last, scratch);
            case 3:
              return run_columns<3, T>(args, sequence, head, first, last, scratch);
            default:
              return run_columns<kVectors, T>(args, sequence, head, first, last, scratch);
          }
        });
  });
}

}  // namespace

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace lockstep
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lockstep {
HWY_EXPORT(run_rule);

namespace ops {

void gated_delta_rule_cpu(const GatedDeltaRuleArgs& args, ThreadPool& pool) noexcept {
  HWY_DYNAMIC_DISPATCH(run_rule)(args, pool);
}

}  // namespace ops
}  // namespace lockstep
#endif
