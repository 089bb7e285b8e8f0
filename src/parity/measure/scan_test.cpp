#include "parity/measure/scan.h"

#include <gtest/gtest.h>

#include "parity/measure/test_matrices.h"

namespace lockstep::parity::measure {
namespace {

Array shaped(std::vector<int64_t> shape, uint64_t seed) {
  int64_t n = 1;
  for (const int64_t size : shape) n *= size;
  return {std::move(shape), random_row(n, seed)};
}

ScanInputs inputs(int64_t tokens = 6) {
  return {shaped({tokens, 4, 3}, 1),
          shaped({tokens, 2, 5}, 2),
          shaped({tokens, 2, 5}, 3),
          shaped({tokens, 4}, 4),
          shaped({4}, 5),
          shaped({4}, 6),
          shaped({4}, 7),
          {}};
}

// The last tokens of `a`, a third of whose rows a token are.
Array last_token(const Array& a) {
  Array part = row_range(a, a.rows() - a.rows() / a.dim(0), a.rows());
  part.shape = a.shape;
  part.shape[0] = 1;
  return part;
}

TEST(Scan, AStepGoesOnFromTheState) {
  const ScanInputs all = inputs();
  ScanInputs before = all, step = all;
  for (Array* a : {&before.x, &before.b, &before.c, &before.dt}) {
    const std::vector<int64_t> shape = a->shape;
    *a = row_range(*a, 0, a->rows() - a->rows() / shape[0]);
    a->shape = shape;
    --a->shape[0];
  }
  for (Array* a : {&step.x, &step.b, &step.c, &step.dt}) *a = last_token(*a);
  step.state = scan(before, {}).state;
  EXPECT_LT(distance(scan(step, {}).y, last_token(scan(all, {}).y)), 1e-12);
  EXPECT_LT(distance(scan(step, {}).state, scan(all, {}).state), 1e-12);
  ScanForm forgetful;
  forgetful.old_state = OldState::kNone;
  EXPECT_GT(distance(scan(step, forgetful).y, last_token(scan(all, {}).y)), 1e-3);
}

TEST(Scan, FormsDiffer) {
  std::vector<ScanForm> forms(7);
  forms[1].decay = Decay::kTwice;
  forms[2].decay = Decay::kRaw;
  forms[3].bias_times = 0;
  forms[4].skip_times = 0;
  forms[5].softplus = false;
  forms[6].dt_max = 0.1;
  for (size_t i = 0; i < forms.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      EXPECT_GT(distance(scan(inputs(), forms[i]).y, scan(inputs(), forms[j]).y), 1e-4) << i << j;
    }
  }
}

TEST(DeltaRule, RecallsWhatItWasTaught) {
  DeltaRuleInputs in{
      shaped({2, 1, 4}, 1), shaped({2, 1, 4}, 1), shaped({2, 2, 3}, 2), shaped({2, 2}, 3),
      shaped({2, 2}, 4),    shaped({2}, 5),       shaped({2}, 6),       {}};
  // Decays to nothing, beta 1, q = k: y is v / sqrt(key width).
  for (double& v : in.beta.values) v = 1;
  for (double& v : in.a.values) v = 50;
  const ScanOutcome out = delta_rule(in, {});
  EXPECT_LT(distance(out.y, scaled(in.v, 0.5)), 1e-5);
  DeltaRuleForm raw;
  raw.normed = false;
  EXPECT_GT(distance(delta_rule(in, raw).y, out.y), 1e-2);
}

TEST(CausalConv, ReadsItsStateBeforeTheFirstToken) {
  const Array x = random_matrix(5, 3, 1), weight = random_matrix(3, 4, 2);
  const Array bias = random_matrix(1, 3, 3);
  const Array all = causal_conv(x, weight, bias, {}, {});
  Array state = matrix(3, 3);
  for (int64_t c = 0; c < 3; ++c) {
    for (int64_t i = 0; i < 3; ++i) at(state, c, i) = at(x, 1 + i, c);
  }
  const Array step = causal_conv(row_range(x, 4, 5), weight, bias, state, {});
  EXPECT_LT(distance(step, row_range(all, 4, 5)), 1e-12);
  ConvForm form;
  form.state_shift = -1;
  EXPECT_GT(distance(causal_conv(row_range(x, 4, 5), weight, bias, state, form), step), 1e-2);
  form = {};
  form.taps = Taps::kReversed;
  EXPECT_GT(distance(causal_conv(x, weight, bias, {}, form), all), 1e-2);
  // One tap further back: the kernel's first is lost, the last is none.
  form.taps = Taps::kOneBack;
  EXPECT_NEAR(at(causal_conv(x, weight, {}, {}, form), 1, 0), at(x, 0, 0) * at(weight, 0, 3),
              1e-12);
}

}  // namespace
}  // namespace lockstep::parity::measure
