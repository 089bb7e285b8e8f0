// The twelve faults of recordings: each gets its own refusal, never a pass, and no operator is
// blamed for it.
#include <gtest/gtest.h>

#include "parity/test_dumps.h"

namespace lockstep::parity::testing {
namespace {

class Harness : public ::testing::Test {
 protected:
  /// Both sides sound, before the test breaks one.
  FakeRun reference = truth_run(some_ids(kTokens));
  FakeRun port = port_run(some_ids(kTokens));
  std::vector<GreedyInfo> greedy;
  TempFolder folder;

  Compared compare(const std::vector<FakeRun>& more_reference = {},
                   const std::vector<FakeRun>& more_port = {}) {
    std::vector<FakeRun> r{reference}, p{port};
    r.insert(r.end(), more_reference.begin(), more_reference.end());
    p.insert(p.end(), more_port.begin(), more_port.end());
    return compare_dumps(write_dump(folder / "reference", r, greedy),
                         write_dump(folder / "port", p));
  }

  static void expect_refusal(const Compared& c, std::string_view code) {
    EXPECT_EQ(c.report.outcome, Outcome::kUndecided) << c.findings();
    EXPECT_TRUE(c.refused(code)) << c.findings();
    EXPECT_EQ(c.find("diverged"), nullptr) << c.findings();
    for (const DiffFinding& f : c.report.findings) {
      if (f.level == Level::kRefusal) {
        EXPECT_EQ(f.code, code) << c.findings();
        EXPECT_FALSE(f.way_out.empty());
      }
    }
  }
};

TEST_F(Harness, SoundRecordingsPass) {
  const Compared c = compare();
  EXPECT_EQ(c.report.outcome, Outcome::kPass) << c.findings();
  EXPECT_EQ(c.report.covered.layers, kLayers);
}

TEST_F(Harness, DifferentPrompts) {
  port = port_run(some_ids(kTokens, 2));
  const Compared c = compare();
  expect_refusal(c, "different_prompts");
  EXPECT_NE(c.find("different_prompts")->message.find("position 0"), std::string::npos);
}

TEST_F(Harness, DifferentSecondPromptIsToldToo) {
  const Compared c = compare({truth_run(some_ids(12, 3), 1)}, {port_run(some_ids(12, 4), 1)});
  expect_refusal(c, "different_prompts");
}

TEST_F(Harness, OneTokenPrompt) {
  reference = truth_run({5});
  port = port_run({5});
  expect_refusal(compare(), "one_token_prompt");
}

TEST_F(Harness, EmptyDump) {
  port.taps.clear();
  port.logits.reset();
  expect_refusal(compare(), "empty_dump");
}

TEST_F(Harness, EmptyTensor) {
  for (FakeRun* run : {&reference, &port}) {
    run->tap("model.layers.1.mlp").shape = {0, kWidth};
    run->tap("model.layers.1.mlp").values.clear();
  }
  expect_refusal(compare(), "empty_dump");
}

TEST_F(Harness, MissingLayerOnOneSide) {
  port.erase("model.layers.1");
  expect_refusal(compare(), "missing_layer");
}

TEST_F(Harness, MissingLayerOnBothSidesIsKnownFromTheConfig) {
  port.erase("model.layers.2");
  reference.erase("model.layers.2");
  expect_refusal(compare(), "missing_layer");
}

TEST_F(Harness, NanOnOneSide) {
  for (FakeRun* run : {&reference, &port}) {
    FakeRun kept = *run;
    run->tap("model.layers.1.mlp").values[kWidth * 3 + 7] = NAN;
    const Compared c = compare();
    expect_refusal(c, "nonfinite");
    EXPECT_EQ(c.find("nonfinite")->tap, "model.layers.1.mlp:output");
    EXPECT_NE(c.find("nonfinite")->message.find("token 3, channel 7"), std::string::npos);
    *run = kept;
  }
}

TEST_F(Harness, NanOnBothSides) {
  for (FakeRun* run : {&reference, &port}) run->logits->values[0] = INFINITY;
  expect_refusal(compare(), "nonfinite");
}

TEST_F(Harness, EqualHashesAcrossLayers) {
  for (int i = 1; i < kLayers; ++i) {
    port.tap("model.layers." + std::to_string(i)).values = port.tap("model.layers.0").values;
  }
  expect_refusal(compare(), "equal_hashes");
}

TEST_F(Harness, EqualHashesAcrossRuns) {
  FakeRun other = port_run(some_ids(kTokens, 5), 1);
  for (FakeTensor& t : other.taps) t.values = port.tap(t.info.path).values;
  expect_refusal(compare({truth_run(some_ids(kTokens, 5), 1)}, {other}), "equal_hashes");
}

TEST_F(Harness, LayerIndexShiftedByOne) {
  // As when hidden_states[i] is taken for layer i's output: entry 0 is the embedding.
  for (int i = kLayers - 1; i > 0; --i) {
    port.tap("model.layers." + std::to_string(i)).values =
        port.tap("model.layers." + std::to_string(i - 1)).values;
  }
  port.tap("model.layers.0").values = port.tap("model.embed_tokens").values;
  expect_refusal(compare(), "layer_index_shift");
}

TEST_F(Harness, LayerIndexShiftedTheOtherWay) {
  for (int i = kLayers - 1; i > 0; --i) {
    reference.tap("model.layers." + std::to_string(i)).values =
        reference.tap("model.layers." + std::to_string(i - 1)).values;
  }
  reference.tap("model.layers.0").values = reference.tap("model.embed_tokens").values;
  expect_refusal(compare(), "layer_index_shift");
}

TEST_F(Harness, PreAgainstPostRotationTap) {
  for (int i = 0; i < kLayers; ++i) {
    const std::string attention = "model.layers." + std::to_string(i) + ".self_attn";
    port.tap(attention + "/q_rot").values = port.tap(attention + ".q_proj").values;
  }
  const Compared c = compare();
  expect_refusal(c, "tap_point");
  EXPECT_NE(c.find("tap_point")->message.find("q_proj"), std::string::npos) << c.findings();
}

TEST_F(Harness, MaskNotExtendedOnDecode) {
  std::vector<int64_t> ids = some_ids(kTokens);
  greedy = {{"float32", "eager", 0, {7, 8}, {3.0, 3.0}}};
  ids.push_back(7);
  const FakeRun sound = truth_run(ids, 0, Phase::kDecode, 1);
  FakeRun step = sound, own = port_run(ids, 0, Phase::kDecode, 1);
  // Without the mask the step saw one key, and its own greedy text chose another token.
  for_each_tensor(step, [seed = size_t{4711}](FakeTensor& t) mutable {
    t.values = random_values(t.values.size(), ++seed);
  });
  step.logits->values[9] = 100;
  expect_refusal(compare({step}, {own}), "decode_mask");
}

TEST_F(Harness, NarrowMaskOnDecode) {
  std::vector<int64_t> ids = some_ids(kTokens);
  ids.push_back(7);
  FakeRun step = truth_run(ids, 0, Phase::kDecode, 1), own = port_run(ids, 0, Phase::kDecode, 1);
  FakeTensor mask;
  mask.info.path = "model.layers.0.self_attn";
  mask.info.role = TapRole::kInput;
  mask.info.name = "attention_mask";
  mask.info.index = 1;
  mask.shape = {1, kTokens};
  mask.values.assign(kTokens, 0);
  step.taps.push_back(mask);
  expect_refusal(compare({step}, {own}), "decode_mask");
}

TEST_F(Harness, DecodeAgainstItsOwnPrefill) {
  std::vector<int64_t> ids = some_ids(kTokens);
  ids.push_back(7);
  const FakeRun whole = truth_run(ids, 1);
  FakeRun step = truth_run(ids, 0, Phase::kDecode, 1), own = port_run(ids, 0, Phase::kDecode, 1);
  const auto* last = whole.logits->values.data() + kTokens * kVocab;
  own.logits->values.assign(last, last + kVocab);
  expect_refusal(compare({whole, step}, {own}), "decode_mask");
}

TEST_F(Harness, DecodeFaultOfThePortIsNotTheHarness) {
  std::vector<int64_t> ids = some_ids(kTokens);
  FakeRun step, own;
  ids.push_back(7);
  step = truth_run(ids, 0, Phase::kDecode, 1);
  step.logits->values[8] = 100;
  own = port_run(ids, 0, Phase::kDecode, 1);
  own.logits->values[8] = 100;
  for (float& x : own.tap("model.layers.1").values) x *= 1.5f;
  for (float& x : own.tap("lm_head").values) x *= 1.5f;
  own.logits->values[3] *= 1.5f;
  // Nothing says whether the reference's step is sound: no operator is blamed.
  expect_refusal(compare({step}, {own}), "decode_unchecked");
  // Its greedy text does.
  greedy = {{"float32", "eager", 0, {7, 8}, {3.0, 3.0}}};
  const Compared c = compare({step}, {own});
  EXPECT_EQ(c.report.outcome, Outcome::kDiverged) << c.findings();
  EXPECT_EQ(c.find("diverged")->tap, "model.layers.1:output");
}

TEST_F(Harness, WrongDtypeRecorded) {
  port = as_bfloat16(port, 0.005f, 3);
  port.info.dtype = "float32";
  expect_refusal(compare(), "wrong_dtype");
}

TEST_F(Harness, Float32RecordedAsBfloat16) {
  FakeRun low = as_bfloat16(reference, 0.01f, 3);
  port.info.dtype = "bfloat16";
  expect_refusal(compare({low}), "wrong_dtype");
}

TEST_F(Harness, StoredInLessThanItSays) {
  for_each_tensor(port, [](FakeTensor& t) { t.stored = DType::kBFloat16; });
  expect_refusal(compare(), "wrong_dtype");
}

TEST_F(Harness, DtypeThatTheReferenceLacks) {
  port = as_bfloat16(port, 0.01f, 3);
  reference = as_bfloat16(reference, 0.01f, 4);
  reference.info.dtype = "float16";
  const Compared c = compare();
  EXPECT_EQ(c.report.outcome, Outcome::kUndecided);
  EXPECT_TRUE(c.refused("wrong_dtype")) << c.findings();
}

TEST_F(Harness, BroadcastShape) {
  FakeTensor& t = port.tap("model.layers.1.mlp");
  t.shape = {1, kWidth};
  t.values.resize(kWidth);
  expect_refusal(compare(), "broadcast_shape");
}

TEST_F(Harness, BroadcastRows) {
  FakeTensor& t = port.tap("model.layers.1.mlp");
  for (size_t i = kWidth; i < t.values.size(); ++i) t.values[i] = t.values[i % kWidth];
  expect_refusal(compare(), "broadcast_shape");
}

TEST_F(Harness, OtherShape) {
  FakeTensor& t = port.tap("model.layers.1.mlp");
  t.shape = {kWidth, kTokens};
  expect_refusal(compare(), "shape_mismatch");
}

TEST_F(Harness, LastEntryPostNorm) {
  for (FakeRun* run : {&reference, &port}) {
    FakeRun kept = *run;
    run->tap("model.layers.2").values = run->tap("model.norm").values;
    expect_refusal(compare(), "last_post_norm");
    *run = kept;
  }
}

TEST_F(Harness, CoverageHole) {
  port.erase("model.layers.1.mlp");
  expect_refusal(compare(), "coverage_hole");
}

}  // namespace
}  // namespace lockstep::parity::testing
