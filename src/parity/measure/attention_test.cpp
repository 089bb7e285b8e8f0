#include "parity/measure/attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "parity/measure/test_matrices.h"

namespace lockstep::parity::measure {
namespace {

constexpr int64_t kTokens = 20, kHeads = 4, kKvHeads = 2, kWidth = 8;

Array heads(int64_t tokens, int64_t n, uint64_t seed) {
  Array x = random_matrix(tokens * n, kWidth, seed);
  x.shape = {tokens, n, kWidth};
  return x;
}

AttentionInputs inputs() {
  return {heads(kTokens, kHeads, 1), heads(kTokens, kKvHeads, 2), heads(kTokens, kKvHeads, 3), 0};
}

AttentionForm plain() {
  AttentionForm form;
  form.scale = 1 / std::sqrt(8.0);
  form.map = repeated_heads(kHeads, kKvHeads);
  return form;
}

TEST(Attention, TokenZeroIsItsOwnValue) {
  const AttentionInputs in = inputs();
  const Array out = attend(in, plain());
  for (int64_t i = 0; i < kWidth; ++i) {
    EXPECT_NEAR(out.values[static_cast<size_t>(3 * kWidth + i)],
                in.v.values[static_cast<size_t>(kWidth + i)], 1e-12);
  }
}

TEST(Attention, TheHeadMapIsReadAtTokenZero) {
  AttentionForm form = plain();
  EXPECT_EQ(read_head_map(inputs(), attend(inputs(), form), kBar),
            repeated_heads(kHeads, kKvHeads));
  form.map = tiled_heads(kHeads, kKvHeads);
  form.sinks = {0.5, -1, 2, 0};  // makes it a multiple
  EXPECT_EQ(read_head_map(inputs(), attend(inputs(), form), kBar), tiled_heads(kHeads, kKvHeads));
  form.ahead = kNoMask;
  EXPECT_FALSE(read_head_map(inputs(), attend(inputs(), form), kBar).has_value());
}

TEST(Attention, ScaleWindowAndCapAreMeasured) {
  AttentionForm form = plain();
  form.scale = 0.19;
  auto scale = measure_scale(inputs(), plain(), noisy(attend(inputs(), form), kNoise), kBar);
  ASSERT_TRUE(scale.has_value());
  EXPECT_NEAR(*scale, 0.19, 1e-6);

  form = plain();
  form.window = 7;
  EXPECT_EQ(measure_window(inputs(), plain(), noisy(attend(inputs(), form), kNoise), kBar), 7);
  EXPECT_EQ(measure_window(inputs(), form, attend(inputs(), plain()), kBar), 0);
  EXPECT_FALSE(measure_scale(inputs(), plain(), attend(inputs(), form), kBar).has_value());

  form = plain();
  form.soft_cap = 3;
  const auto cap = measure_soft_cap(inputs(), plain(), attend(inputs(), form), kBar);
  ASSERT_TRUE(cap.has_value());
  EXPECT_NEAR(*cap, 3, 1e-4);
  EXPECT_FALSE(measure_window(inputs(), plain(), attend(inputs(), form), kBar).has_value());
}

TEST(Attention, FormsDiffer) {
  const Array right = attend(inputs(), plain());
  std::vector<AttentionForm> forms;
  const auto add = [&](auto change) {
    forms.push_back(plain());
    change(forms.back());
  };
  add([](AttentionForm& f) { f.ahead = kNoMask; });
  add([](AttentionForm& f) { f.ahead = 1; });
  add([](AttentionForm& f) { f.ahead = -1; });
  add([](AttentionForm& f) { f.slopes = alibi_slopes(kHeads); });
  add([](AttentionForm& f) { f.sinks = {0, 0, 0, 0}; });
  add([](AttentionForm& f) { f.weighing = Weighing::kSigmoid; });
  add([](AttentionForm& f) { f.window = 5; });
  add([](AttentionForm& f) {
    f.window = 5;
    f.window_of = WindowOf::kOldest;
  });
  add([](AttentionForm& f) { f.weight_type = DType::kBFloat16; });
  add([](AttentionForm& f) { f.score_type = DType::kBFloat16; });
  add([](AttentionForm& f) { f.map = tiled_heads(kHeads, kKvHeads); });
  std::vector<Array> outs = {right};
  for (const AttentionForm& form : forms) {
    const Array out = attend(inputs(), form);
    for (const Array& other : outs) EXPECT_GT(distance(out, other), 1e-4);
    outs.push_back(out);
  }
}

TEST(Attention, AStepSeesTheKeysBefore) {
  AttentionInputs step = inputs();
  step.q = heads(1, kHeads, 1);
  const Array q = inputs().q;
  step.q.values.assign(q.values.end() - kHeads * kWidth, q.values.end());
  step.first_position = kTokens - 1;
  const Array all = attend(inputs(), plain()), last = attend(step, plain());
  EXPECT_TRUE(
      std::equal(last.values.begin(), last.values.end(), all.values.end() - kHeads * kWidth));
}

TEST(Attention, SlopesOfOddNumbersOfHeads) {
  EXPECT_EQ(alibi_slopes(4), (std::vector<double>{0.25, 0.0625, 0.015625, 0.00390625}));
  const std::vector<double> six = alibi_slopes(6);
  EXPECT_EQ(six.size(), 6u);
  EXPECT_DOUBLE_EQ(six[4], 0.5);
  EXPECT_DOUBLE_EQ(six[5], 0.125);
}

}  // namespace
}  // namespace lockstep::parity::measure
