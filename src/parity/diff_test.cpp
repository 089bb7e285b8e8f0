// Verdicts on sound and faulty ports.
#include "parity/diff.h"

#include <gtest/gtest.h>

#include "lockstep/error.h"
#include "parity/report.h"
#include "parity/test_dumps.h"

namespace lockstep::parity::testing {
namespace {

class Diff : public ::testing::Test {
 protected:
  std::vector<int64_t> ids = some_ids(kTokens);
  FakeRun reference = truth_run(ids);
  FakeRun low = as_bfloat16(reference, 0.01f, 3);
  FakeRun port = port_run(ids);
  FakeRun low_port = as_bfloat16(reference, 0.01f, 4);
  TempFolder folder;

  Compared compare(const std::vector<FakeRun>& r, const std::vector<FakeRun>& p,
                   const DiffOptions& options = {}) {
    return compare_dumps(write_dump(folder / "reference", r), write_dump(folder / "port", p),
                         options);
  }
};

TEST_F(Diff, SoundPortsPassInBothPrecisions) {
  const Compared c = compare({reference, low}, {port, low_port});
  EXPECT_EQ(c.report.outcome, Outcome::kPass) << c.findings();
  EXPECT_EQ(c.report.covered.runs, 2);
}

TEST_F(Diff, NamesTheFirstTapInOrderOfExecution) {
  for (const char* path : {"model.layers.1.mlp", "model.layers.1", "model.layers.2", "lm_head"}) {
    for (float& x : port.tap(path).values) x *= 1.01f;
  }
  for (float& x : port.logits->values) x *= 1.01f;
  const Compared c = compare({reference}, {port});
  EXPECT_EQ(c.report.outcome, Outcome::kDiverged);
  EXPECT_EQ(c.find("diverged")->tap, "model.layers.1.mlp:output");
  EXPECT_NEAR(c.report.runs[0].taps[11].metrics.sums.alpha(), 1.01, 1e-6);
}

TEST_F(Diff, RepeatedCallsAreMatchedByContentWhereTheirOrderDiffers) {
  const auto add_rotary = [&](FakeRun& run, const std::vector<int>& tables) {
    for (int call = 0; call < 2; ++call) {
      for (int index = 0; index < 2; ++index) {
        FakeTensor t;
        t.info.path = "model.rotary_emb";
        t.info.module_class = "RotaryEmbedding";
        t.info.index = index;
        t.info.call = call;
        t.shape = {kTokens, kWidth};
        const auto seed = static_cast<size_t>(tables[static_cast<size_t>(call)]) * 10 +
                          static_cast<size_t>(index);
        t.values = random_values(kTokens * kWidth, seed);
        run.taps.insert(run.taps.begin() + 1 + 2 * call + index, t);
      }
    }
  };
  FakeRun plain = port;
  add_rotary(reference, {1, 2});
  add_rotary(port, {2, 1});
  const Compared swapped = compare({reference}, {port});
  EXPECT_EQ(swapped.report.outcome, Outcome::kPass) << swapped.findings();
  EXPECT_TRUE(swapped.report.runs[0].only_in_port.empty());
  // A table that is nobody's keeps its number, and is reported under it.
  port = plain;
  add_rotary(port, {3, 1});
  const Compared wrong = compare({reference}, {port});
  EXPECT_NE(wrong.report.outcome, Outcome::kPass) << wrong.findings();
}

TEST_F(Diff, TokenZeroCleanIsTold) {
  for (const char* path : {"model.layers.0.self_attn", "model.layers.0"}) {
    auto& values = port.tap(path).values;
    for (size_t i = kWidth; i < values.size(); ++i) values[i] *= 1.1f;
  }
  for (float& x : port.logits->values) x *= 1.1f;
  const Compared c = compare({reference}, {port});
  ASSERT_NE(c.find("diverged"), nullptr) << c.findings();
  EXPECT_NE(c.find("diverged")->message.find("token 0 clean"), std::string::npos);
}

TEST_F(Diff, OneWrongTokenIsNotDilutedInBfloat16) {
  // One token of 512: 4 % of the whole tensor's norm, about the floor's band.
  ids = some_ids(512);
  reference = truth_run(ids);
  low = as_bfloat16(reference, 0.02f, 3);
  low_port = as_bfloat16(reference, 0.02f, 4);
  for (const char* path : {"model.layers.1", "model.layers.2", "lm_head"}) {
    auto& values = low_port.tap(path).values;
    const size_t width = values.size() / 512;
    for (size_t i = 0; i < width; ++i) values[300 * width + i] *= 0.5f;
  }
  low_port.logits->values = low_port.tap("lm_head").values;
  const Compared c = compare({reference, low}, {low_port});
  EXPECT_EQ(c.report.outcome, Outcome::kDiverged) << c.findings();
  EXPECT_NE(c.find("diverged")->message.find("token 300"), std::string::npos) << c.findings();
}

TEST_F(Diff, SingleTokensOfAnExpertsModelNeedEvidence) {
  ids = some_ids(64);
  reference = truth_run(ids);
  low = as_bfloat16(reference, 0.01f, 3);
  low_port = as_bfloat16(reference, 0.01f, 4);
  port = port_run(ids);
  for (const char* path : {"model.layers.1.mlp", "model.layers.1", "model.layers.2"}) {
    auto& values = low_port.tap(path).values;
    for (size_t i = 40 * kWidth; i < 41 * kWidth; ++i) values[i] = -values[i];
  }
  const auto with_experts = [&](const std::vector<FakeRun>& p) {
    const auto r = write_dump(folder / "reference", {reference, low});
    Compared c{read_recording(r), read_recording(write_dump(folder / "port", p)), {}};
    c.reference.has_experts = true;
    ThreadPool pool(1);
    c.report = diff(c.reference, {}, c.port, {}, pool);
    return c;
  };
  // Nothing says that it was a near tie: no pass, and no operator blamed.
  const Compared alone = with_experts({low_port});
  EXPECT_EQ(alone.report.outcome, Outcome::kUndecided) << alone.findings();
  EXPECT_NE(alone.find("routing"), nullptr);
  // The same prompt is clean in float32: it may be a fault of bfloat16 all the same.
  const Compared both = with_experts({port, low_port});
  EXPECT_EQ(both.report.outcome, Outcome::kUndecided) << both.findings();
  // Without experts there is no such excuse.
  EXPECT_EQ(compare({reference, low}, {port, low_port}).report.outcome, Outcome::kDiverged);
}

TEST_F(Diff, AFloorFromFewTokensSaysLittleOfSingleOnes) {
  const auto scaled_token = [&](float factor) {
    FakeRun run = as_bfloat16(truth_run(some_ids(64)), 0.01f, 4);
    auto& values = run.tap("model.layers.1").values;
    const auto noise = random_values(kWidth, 77);
    for (size_t i = 0; i < kWidth; ++i) values[20 * kWidth + i] *= 1 + factor * noise[i];
    for (float& x : values) x = bfloat16_to_float(float_to_bfloat16(x));
    return run;
  };
  const FakeRun many = truth_run(some_ids(64), 1);
  const FakeRun many_low = as_bfloat16(many, 0.01f, 3);
  // A token at about eight times the floor: too much by 64 tokens, not by 24.
  const FakeRun odd = scaled_token(0.1f);
  EXPECT_EQ(compare({many, many_low}, {odd}).report.outcome, Outcome::kDiverged);
  EXPECT_NE(compare({many, reference, low}, {odd}).report.outcome, Outcome::kDiverged);
  // A token that is plainly wrong is too much by either.
  EXPECT_EQ(compare({many, reference, low}, {scaled_token(1)}).report.outcome, Outcome::kDiverged);
}

TEST_F(Diff, MassiveChannelDoesNotHideTheRest) {
  for (FakeRun* run : {&reference, &low, &low_port}) {
    auto& values = run->tap("model.layers.1").values;
    for (size_t t = 0; t < kTokens; ++t) values[t * kWidth + 5] = 4096;
  }
  auto& wrong = low_port.tap("model.layers.1").values;
  for (size_t i = 0; i < wrong.size(); ++i) {
    if (i % kWidth != 5) wrong[i] = bfloat16_to_float(float_to_bfloat16(wrong[i] * 0.5f));
  }
  for (float& x : low_port.logits->values) x *= 2;
  const Compared c = compare({reference, low}, {low_port});
  EXPECT_EQ(c.report.outcome, Outcome::kDiverged) << c.findings();
}

TEST_F(Diff, WatchIsAPassWithTheTapsNamedUnlessStrict) {
  low_port = as_bfloat16(reference, 0.022f, 4);
  const Compared c = compare({reference, low}, {low_port});
  EXPECT_EQ(c.report.outcome, Outcome::kPass) << c.findings();
  EXPECT_NE(c.find("watch"), nullptr) << c.findings();
  DiffOptions strict;
  strict.strict = true;
  EXPECT_EQ(compare({reference, low}, {low_port}, strict).report.outcome, Outcome::kDiverged);
}

TEST_F(Diff, LowPrecisionWithoutAFloorIsUndecided) {
  EXPECT_EQ(compare({reference}, {low_port}).report.outcome, Outcome::kUndecided);
  EXPECT_EQ(compare({low}, {low_port}).report.outcome, Outcome::kUndecided);
}

TEST_F(Diff, LogitsAloneAreNoPass) {
  port.taps.clear();
  const Compared c = compare({reference}, {port});
  EXPECT_EQ(c.report.outcome, Outcome::kUndecided) << c.findings();
  EXPECT_NE(c.find("coverage"), nullptr);
}

TEST_F(Diff, EachLandmarkIsNeeded) {
  for (const char* path : {"model.embed_tokens", "model.norm"}) {
    FakeRun kept = port;
    port.erase(path);
    EXPECT_EQ(compare({reference}, {port}).report.outcome, Outcome::kUndecided) << path;
    port = kept;
  }
  port.logits.reset();
  EXPECT_EQ(compare({reference}, {port}).report.outcome, Outcome::kUndecided);
}

TEST_F(Diff, FiltersNeverWidenAVerdict) {
  DiffOptions options;
  options.skip = {"model.layers.1"};
  Compared c = compare({reference}, {port}, options);
  EXPECT_EQ(c.report.outcome, Outcome::kUndecided) << c.findings();
  options.skip = {"*.mlp"};
  c = compare({reference}, {port}, options);
  EXPECT_EQ(c.report.outcome, Outcome::kPass) << c.findings();
  EXPECT_NE(report_text(c.reference, c.port, c.report, {}).find("3 taps left out"),
            std::string::npos);
}

TEST_F(Diff, BothPrecisionsMustBeCovered) {
  low_port.erase("model.norm");
  EXPECT_EQ(compare({reference, low}, {port, low_port}).report.outcome, Outcome::kUndecided);
}

TEST_F(Diff, WhatThePortDidNotRecordIsSaid) {
  const Compared c = compare({reference, low, truth_run(some_ids(30, 2), 1)}, {port});
  EXPECT_EQ(c.report.outcome, Outcome::kPass);
  const std::string text = report_text(c.reference, c.port, c.report, {});
  EXPECT_NE(text.find("1 prompts of the reference"), std::string::npos) << text;
  EXPECT_NE(text.find("bfloat16: the reference recorded it"), std::string::npos);
  EXPECT_NE(text.find("contexts longer than 24 tokens"), std::string::npos);
}

TEST_F(Diff, AReferenceThatDisagreesWithItselfWidensNothing) {
  FakeRun other = noisy(reference, 0.05f, 8);
  other.info.attention = "sdpa";
  for (float& x : port.tap("model.layers.1").values) x *= 1.01f;
  for (float& x : port.logits->values) x *= 1.01f;
  const Compared c = compare({reference, other}, {port});
  EXPECT_EQ(c.report.outcome, Outcome::kDiverged) << c.findings();
}

TEST_F(Diff, BrokenLowPrecisionReferenceJudgesNothing) {
  const Compared c = compare({reference, as_bfloat16(reference, 0.5f, 3)}, {low_port});
  EXPECT_EQ(c.report.outcome, Outcome::kUndecided) << c.findings();
}

TEST_F(Diff, FloorRecordingsWidenTheFloor) {
  low_port = as_bfloat16(reference, 0.05f, 4);
  const auto r = write_dump(folder / "reference", {reference, low});
  const auto p = write_dump(folder / "port", {low_port});
  EXPECT_EQ(compare_dumps(r, p).report.outcome, Outcome::kDiverged);
  FakeRun sdpa = as_bfloat16(reference, 0.04f, 5);
  sdpa.info.attention = "sdpa";
  const auto f = write_dump(folder / "floor", {sdpa});
  const Recording reference_side = read_recording(r), floor = read_recording(f),
                  port_side = read_recording(p);
  ThreadPool pool(1);
  EXPECT_EQ(diff(reference_side, {&floor}, port_side, {}, pool).outcome, Outcome::kPass);
}

TEST_F(Diff, MaskOnOneSideOnlyDiverges) {
  for (FakeRun* run : {&reference, &port}) {
    FakeTensor scores;
    scores.info.path = "model.layers.0.self_attn/scores";
    scores.shape = {kHeads, kTokens, kTokens};
    scores.values = random_values(kHeads * kTokens * kTokens, 5);
    for (size_t i = 0; i < scores.values.size(); ++i) {
      if (i % kTokens > i / kTokens % kTokens) scores.values[i] = -3.4028235e38f;
    }
    run->taps.insert(run->taps.begin() + 3, scores);
  }
  EXPECT_EQ(compare({reference}, {port}).report.outcome, Outcome::kPass);
  port.tap("model.layers.0.self_attn/scores").values[1] = 0.5f;
  for (float& x : port.logits->values) x *= 1.01f;
  const Compared c = compare({reference}, {port});
  EXPECT_EQ(c.report.outcome, Outcome::kDiverged) << c.findings();
}

TEST_F(Diff, TheSameFolderTwiceIsRefused) {
  const auto r = write_dump(folder / "reference", {reference});
  EXPECT_THROW(compare_dumps(r, r), Error);
}

TEST_F(Diff, ValidateJudgesNothing) {
  for (float& x : port.logits->values) x *= 2;
  DiffOptions options;
  options.validate_only = true;
  const Compared c = compare({reference}, {port}, options);
  EXPECT_TRUE(c.report.valid);
  EXPECT_EQ(c.report.outcome, Outcome::kUndecided);
}

TEST_F(Diff, TextFitsAHundredColumns) {
  for (float& x : port.tap("model.layers.1").values) x *= 1.01f;
  for (float& x : port.logits->values) x *= 1.01f;
  DiffOptions options;
  options.keep_tokens = options.keep_channels = true;
  const Compared c = compare({reference, low}, {port, low_port}, options);
  ReportOptions report;
  report.all = report.per_token = report.per_channel = true;
  const std::string text = report_text(c.reference, c.port, c.report, report);
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    // A command is one line, however long its paths are.
    if (text.compare(begin, 5, "next:") != 0) {
      EXPECT_LE(end - begin, 100u) << text.substr(begin, end - begin);
    }
    begin = end + 1;
  }
  EXPECT_NE(report_json(c.reference, c.port, c.report).find("\"verdict\": \"diverged\""),
            std::string::npos);
}

}  // namespace
}  // namespace lockstep::parity::testing
