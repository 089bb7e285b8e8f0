#include "parity/measure/router.h"

#include <gtest/gtest.h>

#include "parity/measure/test_matrices.h"

namespace lockstep::parity::measure {
namespace {

const Array kNoBias;

TEST(Router, SoftmaxOfTheChosenIsTheNormalisedSoftmax) {
  const Array logits = random_matrix(10, 8, 1);
  RouterForm first{Scoring::kSoftmax, 3}, after{Scoring::kChosenSoftmax, 3};
  first.normalise = true;
  const Routing a = route(logits, kNoBias, first), b = route(logits, kNoBias, after);
  EXPECT_EQ(a.ids.values, b.ids.values);
  EXPECT_LT(distance(a.weights, b.weights), 1e-12);
  first.normalise = false;
  EXPECT_GT(distance(route(logits, kNoBias, first).weights, b.weights), 1e-2);
}

TEST(Router, ABiasMovesTheChoiceAlone) {
  const Array logits = random_matrix(10, 8, 1), bias = scaled(random_matrix(1, 8, 2), 0.5);
  RouterForm form{Scoring::kSigmoid, 2};
  const Routing right = route(logits, bias, form);
  EXPECT_GT(other_choices(right.ids, route(logits, kNoBias, form).ids), 0);
  form.biased_weights = true;
  const Routing wrong = route(logits, bias, form);
  EXPECT_EQ(other_choices(right.ids, wrong.ids), 0);
  EXPECT_GT(distance(wrong.weights, right.weights), 1e-2);
}

TEST(Router, GroupsLimitTheChoice) {
  const Array logits = random_matrix(20, 8, 3);
  RouterForm form{Scoring::kSigmoid, 2};
  form.n_group = 4;
  form.topk_group = 1;
  const Routing grouped = route(logits, kNoBias, form);
  for (int64_t t = 0; t < 20; ++t) {
    EXPECT_EQ(static_cast<int64_t>(at(grouped.ids, t, 0)) / 2,
              static_cast<int64_t>(at(grouped.ids, t, 1)) / 2);
  }
  form.n_group = 1;
  EXPECT_GT(other_choices(route(logits, kNoBias, form).ids, grouped.ids), 0);
}

TEST(Router, RelabelledExperts) {
  const Routing routing = route(random_matrix(30, 4, 5), kNoBias, {Scoring::kSoftmax, 2});
  const std::vector<int64_t> labels = {2, 0, 3, 1};
  const Array moved = map(
      routing.ids, [&](double id) { return static_cast<double>(labels[static_cast<size_t>(id)]); });
  EXPECT_EQ(measure_relabelling(routing.ids, moved, 4), labels);
  EXPECT_FALSE(measure_relabelling(routing.ids, routing.ids, 4).has_value());
  Array broken = moved;
  broken.values[5] = broken.values[4];
  EXPECT_FALSE(measure_relabelling(routing.ids, broken, 4).has_value());
}

}  // namespace
}  // namespace lockstep::parity::measure
