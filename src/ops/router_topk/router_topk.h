// Which experts a token goes to, and with what weights.
//
//   scores_first:  s = softmax(logits) or sigmoid(logits), over all experts; c = s + bias
//   topk_first:    c = logits; s = softmax over the k chosen alone
//
//   groups (n_group > 1): experts in n_group runs of equal length; a group's score is the sum of
//     its two greatest c, or its greatest; outside the topk_group best groups c = -inf
//   ids = the k greatest c, greatest first; equal ones by the lower id, NaN before all
//   weights = s of the ids; normalise: / (their sum + 1e-20); then * scaling
//
// Rounding: s in float64, one rounding to float32; all else in float32, sums in the order of ids.
// Types: logits float32 or bfloat16 (widened, as both references do); weights float32 always.
#pragma once

#include "ops/op.h"

namespace lockstep::ops {

struct RouterTopkArgs {
  const void* logits;  // [n_rows, n_experts] of dtype
  const void* bias;    // [n_experts] of bias_dtype, or nullptr
  int32_t* ids;        // [n_rows, k]
  float* weights;      // [n_rows, k]
  int64_t n_rows, n_experts, k, n_group, topk_group;
  float scaling;
  bool sigmoid, topk_first, normalise;
  bool group_by_best;  // else by the two best
  DType dtype, bias_dtype;
};

/// Whether the expert or group `i` of score `a` comes before `j` of score `b`.
inline bool ranks_before(float a, int64_t i, float b, int64_t j) noexcept {
  const bool a_nan = a != a, b_nan = b != b;
  if (a_nan != b_nan) return a_nan;
  if (!a_nan && a != b) return a > b;
  return i < j;
}

void router_topk_ref(const RouterTopkArgs& args, ThreadPool& pool) noexcept;
void router_topk_cpu(const RouterTopkArgs& args, ThreadPool& pool) noexcept;

/// (logits [T, E], correction bias [E] or none) -> (ids int32[T, k], weights float32[T, k]).
/// Attributes: scoring ("softmax" or "sigmoid"), order ("scores_first" or "topk_first"; the latter
/// with softmax alone), top_k, n_group and topk_group (1), group_score ("two_best" or "best"),
/// normalise (0 or 1), scaling (1.0).
extern const OpDef router_topk;

}  // namespace lockstep::ops
