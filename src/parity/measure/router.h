// The choice of experts and their weights, in every form that ports mix up. As src/ops/router_topk.
#pragma once

#include <optional>
#include <vector>

#include "parity/measure/matrix.h"
#include "tensor/dtype.h"

namespace lockstep::parity::measure {

enum class Scoring : uint8_t { kSoftmax, kSigmoid, kChosenSoftmax, kLogits };

struct RouterForm {
  Scoring scoring = Scoring::kSoftmax;
  int64_t top_k = 1, n_group = 1, topk_group = 1;
  bool group_by_best = false;  // else by the two best of each
  bool normalise = false;
  double scaling = 1;
  bool biased_choice = true, biased_weights = false;  // where there is a bias
  DType logits_type = DType::kFloat64;                // what they are rounded to first
};

struct Routing {
  Array ids, weights;  // [tokens, k], greatest first
};

/// logits [tokens, experts], bias [experts] or empty.
Routing route(const Array& logits, const Array& bias, const RouterForm& form);

/// The weights of given ids under `form`, in their order: [tokens, k].
Array weights_of(const Array& logits, const Array& bias, const Array& ids, const RouterForm& form);

/// Share of rows that hold another set of ids.
double other_choices(const Array& a, const Array& b);

/// The one permutation that takes every id of `from` to that of `to` in its place, -1 for experts
/// that were not chosen; nothing when there is none, or when it moves nothing.
std::optional<std::vector<int64_t>> measure_relabelling(const Array& from, const Array& to,
                                                        int64_t n_experts);

}  // namespace lockstep::parity::measure
