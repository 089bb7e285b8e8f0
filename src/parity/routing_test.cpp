// Mixtures of experts: what near ties excuse, and what they do not. Repeated calls, tiny tensors.
#include "parity/routing.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "parity/test_dumps.h"

namespace lockstep::parity::testing {
namespace {

constexpr int kLong = 64, kExperts = 8, kTied = 40;
constexpr const char* kConfig = ", \"num_experts\": 8, \"num_experts_per_tok\": 2";
constexpr const char* kGate = "model.layers.1.mlp.gate";

FakeTensor tensor(const std::string& path, std::vector<int64_t> shape, std::vector<float> values) {
  FakeTensor t;
  t.info.path = path;
  t.shape = std::move(shape);
  t.values = std::move(values);
  return t;
}

void insert_before(FakeRun& run, const std::string& path, FakeTensor t) {
  const auto at = std::find_if(run.taps.begin(), run.taps.end(),
                               [&](const FakeTensor& tap) { return tap.info.path == path; });
  run.taps.insert(at, std::move(t));
}

class Routing : public ::testing::Test {
 protected:
  Routing() {
    // Every token chooses experts 0 and 1, or 4 and 5, by far, but for one where 1 and 2 nearly
    // tie.
    std::vector<float> scores;
    for (int t = 0; t < kLong; ++t) {
      for (int e = 0; e < kExperts; ++e) {
        const bool chosen = t % 2 == 0 ? e < 2 : e / 2 == 2;
        scores.push_back(chosen ? 2.0f : -1.0f - 0.1f * static_cast<float>(e));
      }
    }
    scores[kTied * kExperts + 2] = 1.9999f;
    insert_before(reference, "model.layers.1.mlp", tensor(kGate, {kLong, kExperts}, scores));
    low = as_bfloat16(reference, 0.01f, 3);
    low_port = as_bfloat16(reference, 0.01f, 4);
    port = noisy(reference, 2e-7f, 99);
    for (FakeRun* run : {&low, &low_port, &port, &reference}) keep_choice(*run, kTied);
  }

  /// So that the made-up noise decides no tie but the test's.
  static void keep_choice(FakeRun& run, int token) {
    auto& gate = run.tap(kGate).values;
    gate[token * kExperts + 2] = run.info.dtype == "float32" ? 1.9999f : 1.984375f;
    gate[token * kExperts + 1] = 2;
  }
  static void choose_another(FakeRun& run, int token) {
    run.tap(kGate).values[token * kExperts + 2] = 2.015625f;
  }
  static void spoil(FakeRun& run, int token) {
    for (const char* path : {"model.layers.1.mlp", "model.layers.1", "model.layers.2"}) {
      auto& values = run.tap(path).values;
      for (int i = token * kWidth; i < (token + 1) * kWidth; ++i) values[i] = -values[i];
    }
  }
  /// Its routers' ids too, expert 2 among those of `token`.
  static FakeRun with_ids(FakeRun run, int token) {
    std::vector<float> ids;
    for (int t = 0; t < kLong; ++t) {
      ids.push_back(t % 2 == 0 ? 1 : 5);
      ids.push_back(t == token ? 2 : t % 2 == 0 ? 0 : 4);
    }
    // Ids are stored as int32; the test's tensors are floats, so by their bits.
    for (float& x : ids) x = std::bit_cast<float>(static_cast<int32_t>(x));
    FakeTensor t = tensor("model.layers.1.mlp/topk_ids", {kLong, 2}, ids);
    t.stored = DType::kInt32;
    insert_before(run, "model.layers.1.mlp", t);
    return run;
  }
  Compared compare(const std::vector<FakeRun>& r, const std::vector<FakeRun>& p,
                   const std::string& config = kConfig) {
    return compare_dumps(write_dump(folder / "reference", r, {}, kLayers, config),
                         write_dump(folder / "port", p, {}, kLayers, config));
  }

  FakeRun reference = truth_run(some_ids(kLong));
  FakeRun low, low_port, port;
  TempFolder folder;
};

TEST_F(Routing, ATokenAtATieIsLeftOutAndTold) {
  choose_another(low_port, kTied);
  spoil(low_port, kTied);
  const Compared c = compare({reference, low}, {low_port});
  EXPECT_EQ(c.report.outcome, Outcome::kPass) << c.findings();
  ASSERT_NE(c.find("rerouted"), nullptr);
  EXPECT_NE(c.find("rerouted")->message.find("1 of 64 tokens"), std::string::npos);
  EXPECT_NE(c.find("watch"), nullptr) << "nothing is dropped silently";
  // A model without experts has no such excuse.
  EXPECT_EQ(compare({reference, low}, {low_port}, "").report.outcome, Outcome::kDiverged);
}

TEST_F(Routing, TheSameChoiceExcusesNothing) {
  spoil(low_port, kTied);
  EXPECT_EQ(compare({reference, low}, {low_port}).report.outcome, Outcome::kDiverged);
  // Not even where float32 is clean: the choices were recorded, and they are the same.
  const Compared c = compare({reference, low}, {port, low_port});
  EXPECT_EQ(c.report.outcome, Outcome::kDiverged) << c.findings();
}

TEST_F(Routing, AnotherTokensTieExcusesNothingBeforeIt) {
  choose_another(low_port, kTied);
  spoil(low_port, kTied);
  spoil(low_port, kTied - 10);
  const Compared c = compare({reference, low}, {port, low_port});
  EXPECT_EQ(c.report.outcome, Outcome::kDiverged) << c.findings();
}

TEST_F(Routing, AttentionToATokenElsewhereExcusesLittle) {
  choose_another(low_port, 10);
  for (FakeRun* run : {&reference, &low, &port}) keep_choice(*run, 10);
  low_port.tap(kGate).values[10 * kExperts + 1] = 2;
  for (const int token : {10, 20, 21, 22}) spoil(low_port, token);
  const Compared c = compare({reference, low}, {port, low_port});
  EXPECT_EQ(c.report.outcome, Outcome::kDiverged) << c.findings();
}

TEST_F(Routing, AFaultInAllOtherTokensIsNotHidden) {
  choose_another(low_port, kTied);
  spoil(low_port, kTied);
  for (const char* path :
       {"model.layers.1.mlp", "model.layers.1", "model.layers.2", "model.norm"}) {
    for (float& x : low_port.tap(path).values) {
      x = bfloat16_to_float(float_to_bfloat16(x * 1.05f));
    }
  }
  const Compared c = compare({reference, low}, {port, low_port});
  EXPECT_EQ(c.report.outcome, Outcome::kDiverged) << c.findings();
}

TEST_F(Routing, AClearMarginIsNoTie) {
  // The gate itself is off here, and by much: what follows from it is no accident.
  auto& gate = low_port.tap(kGate).values;
  gate[5 * kExperts + 6] = 4;
  spoil(low_port, 5);
  const Compared c = compare({reference, low}, {port, low_port});
  EXPECT_EQ(c.report.outcome, Outcome::kDiverged) << c.findings();
  ASSERT_NE(c.find("rerouted"), nullptr);
  EXPECT_EQ(c.find("rerouted")->level, Level::kWatch);
}

TEST_F(Routing, RecordedIdsAreWeighedByTheScores) {
  const std::vector<FakeRun> r = {with_ids(reference, -1), with_ids(low, -1)};
  EXPECT_EQ(compare(r, {with_ids(low_port, -1)}).report.outcome, Outcome::kPass);
  // Expert 2 instead of 4 where 4 leads by far, and the scores agree: the choice is wrong.
  const Compared c = compare(r, {with_ids(low_port, 7)});
  EXPECT_EQ(c.report.outcome, Outcome::kDiverged) << c.findings();
  ASSERT_NE(c.find("diverged"), nullptr);
  EXPECT_EQ(c.find("diverged")->tap, "model.layers.1.mlp/topk_ids:output");
}

TEST_F(Routing, IdsWithoutScoresTellWhoButNotWhy) {
  for (FakeRun* run : {&reference, &low, &port, &low_port}) run->erase(kGate);
  spoil(low_port, 7);
  const std::vector<FakeRun> r = {with_ids(reference, -1), with_ids(low, -1)};
  const FakeRun sound = with_ids(port, -1);
  EXPECT_EQ(compare(r, {with_ids(low_port, 7)}).report.outcome, Outcome::kUndecided);
  EXPECT_EQ(compare(r, {sound, with_ids(low_port, 7)}).report.outcome, Outcome::kPass);
  // The same ids: whatever float32 says, the numbers are wrong.
  const Compared c = compare(r, {sound, with_ids(low_port, -1)});
  EXPECT_EQ(c.report.outcome, Outcome::kDiverged) << c.findings();
}

TEST_F(Routing, ADecodeStepWhoseTokenWentElsewhereNeedsFloat32) {
  std::vector<int64_t> ids = some_ids(kLong);
  ids.push_back(3);
  FakeRun step = truth_run(ids, 0, Phase::kDecode, 1);
  insert_before(step, "model.layers.1.mlp",
                tensor(kGate, {1, kExperts}, {2, 2, 1.9999f, -1, -1, -1, -1, -1}));
  FakeRun step_low = as_bfloat16(step, 0.01f, 5), step_port = as_bfloat16(step, 0.01f, 6);
  FakeRun step_float = noisy(step, 2e-7f, 98);
  for (FakeRun* run : {&step, &step_low, &step_port, &step_float}) keep_choice(*run, 0);
  choose_another(step_port, 0);
  spoil(step_port, 0);
  const Compared alone = compare({reference, low, step, step_low}, {low_port, step_port});
  EXPECT_EQ(alone.report.outcome, Outcome::kUndecided) << alone.findings();
  const Compared both =
      compare({reference, low, step, step_low}, {port, low_port, step_float, step_port});
  EXPECT_EQ(both.report.outcome, Outcome::kPass) << both.findings();
}

TEST_F(Routing, WhatIsListedByExpertIsLeftOutAndTold) {
  for (FakeRun* run : {&reference, &low, &low_port}) {
    const size_t seed = run == &low_port ? 2 : 1;
    insert_before(*run, "model.layers.1.mlp",
                  tensor("model.layers.1.mlp.router", {2 * kLong}, random_values(2 * kLong, seed)));
  }
  for (float& x : low_port.tap("model.layers.1.mlp.router").values) {
    x = bfloat16_to_float(float_to_bfloat16(x));
  }
  const Compared c = compare({reference, low}, {low_port});
  EXPECT_EQ(c.report.outcome, Outcome::kPass) << c.findings();
  EXPECT_TRUE(std::any_of(
      c.report.not_covered.begin(), c.report.not_covered.end(),
      [](const std::string& s) { return s.find("expert by expert") != std::string::npos; }));
  // What is computed from it is judged.
  spoil(low_port, 3);
  EXPECT_EQ(compare({reference, low}, {low_port}).report.outcome, Outcome::kDiverged);
}

TEST(Choices, OfGroups) {
  // Group 0 has the highest expert, group 1 the better two.
  const std::vector<float> scores = {3, -9, -9, -9, 2, 2, -9, -9};
  const View view = make_view(scores.data(), DType::kFloat32, std::vector<int64_t>{1, 8});
  EXPECT_EQ((*choices_of_scores(view, {8, 2, 0, 0}))[0], (Choice{0, 4}));
  EXPECT_EQ((*choices_of_scores(view, {8, 2, 2, 1}))[0], (Choice{4, 5}));
  EXPECT_FALSE(choices_of_scores(view, {4, 2, 0, 0}));
}

/// Adds `args` to the calls of the rotary embedding, in this order.
void add_args(const std::filesystem::path& dump, const std::vector<std::string>& kinds) {
  const auto path = dump / kManifestFile;
  nlohmann::json manifest = nlohmann::json::parse(std::ifstream(path));
  for (auto& run : manifest["runs"]) {
    for (auto& tap : run["taps"]) {
      if (tap["path"] == "model.rotary_emb") tap["args"] = {{"layer_type", kinds[tap["call"]]}};
    }
  }
  std::ofstream(path) << manifest;
}

TEST(RepeatedCalls, AreMatchedByTheirArguments) {
  TempFolder folder;
  const FakeRun plain = truth_run(some_ids(kTokens));
  const auto with_tables = [](FakeRun run, size_t first, size_t second) {
    for (const int call : {0, 1}) {
      FakeTensor t = tensor("model.rotary_emb", {kTokens, 16},
                            random_values(kTokens * 16, call == 0 ? first : second));
      t.info.call = call;
      insert_before(run, "model.layers.0.input_layernorm", t);
    }
    return run;
  };
  const auto compared = [&](size_t first, size_t second, const std::vector<std::string>& kinds) {
    const auto r = write_dump(folder / "r", {with_tables(plain, 1, 2)});
    const auto p =
        write_dump(folder / "p", {with_tables(port_run(some_ids(kTokens)), first, second)});
    add_args(r, {"full", "sliding"});
    if (!kinds.empty()) add_args(p, kinds);
    return compare_dumps(r, p).report.outcome;
  };
  EXPECT_EQ(compared(1, 2, {"full", "sliding"}), Outcome::kPass);
  EXPECT_EQ(compared(2, 1, {"sliding", "full"}), Outcome::kPass);
  EXPECT_NE(compared(1, 2, {"sliding", "full"}), Outcome::kPass);  // tables exchanged
  EXPECT_EQ(compared(1, 2, {}), Outcome::kPass);                   // one side has none
  EXPECT_EQ(compared(2, 1, {}), Outcome::kPass);                   // by content
  EXPECT_NE(compared(3, 1, {}), Outcome::kPass);
}

// transformers expands all cached latents at every step, the port those of the new token.
TEST(NewestRows, OfATableThatTheReferenceRecomputesTheNewestRowsAreCompared) {
  TempFolder folder;
  std::vector<int64_t> ids = some_ids(kTokens);
  FakeRun prefill = truth_run(ids);
  ids.push_back(3);
  FakeRun step = truth_run(ids, 0, Phase::kDecode, 1);
  const char* path = "model.layers.0.self_attn.kv_b_proj";
  const auto n = static_cast<int64_t>(ids.size());
  const std::vector<float> table = random_values(static_cast<size_t>(n) * kWidth, 8);
  insert_before(step, "model.layers.0.mlp", tensor(path, {1, 1, n, kWidth}, table));
  FakeRun port_prefill = noisy(prefill, 2e-7f, 5), port_step = noisy(step, 2e-7f, 6);
  const auto outcome = [&](size_t row) {
    FakeTensor& t = port_step.tap(path);
    t.shape = {1, kWidth};
    t.values.assign(table.begin() + static_cast<ptrdiff_t>(row * kWidth),
                    table.begin() + static_cast<ptrdiff_t>((row + 1) * kWidth));
    return compare_dumps(write_dump(folder / "r", {prefill, step}),
                         write_dump(folder / "p", {port_prefill, port_step}))
        .report.outcome;
  };
  EXPECT_EQ(outcome(static_cast<size_t>(n) - 1), Outcome::kPass);
  EXPECT_NE(outcome(0), Outcome::kPass) << "another row";
}

TEST(TinyTensors, AreWeighedByWhatTheTapUsuallyHolds) {
  TempFolder folder;
  std::vector<int64_t> ids = some_ids(kTokens);
  FakeRun prefill = truth_run(ids);
  ids.push_back(3);
  FakeRun step = truth_run(ids, 0, Phase::kDecode, 1);
  const char* path = "model.layers.0.mlp.shared_expert_gate";
  insert_before(prefill, "model.layers.0.mlp",
                tensor(path, {kTokens, 1}, random_values(kTokens, 8)));
  insert_before(step, "model.layers.0.mlp", tensor(path, {1, 1}, {8.5752085e-4f}));
  FakeRun other = noisy(prefill, 2e-7f, 5), other_step = noisy(step, 2e-7f, 6);
  const auto outcome = [&](float value) {
    other_step.tap(path).values = {value};
    return compare_dumps(write_dump(folder / "r", {prefill, step}),
                         write_dump(folder / "p", {other, other_step}));
  };
  EXPECT_EQ(outcome(8.5750595e-4f).report.outcome, Outcome::kPass) << "the rest of a cancellation";
  // Of a value of the usual size, 1e-5 of it: a fault.
  EXPECT_NE(outcome(8.6752085e-4f).report.outcome, Outcome::kPass);
  insert_before(step, "model.layers.0.mlp", tensor("model.layers.0.mlp.tiny", {1, 1}, {0.8f}));
  insert_before(other_step, "model.layers.0.mlp",
                tensor("model.layers.0.mlp.tiny", {1, 1}, {0.80002f}));
  EXPECT_NE(outcome(8.5752085e-4f).report.outcome, Outcome::kPass);
}

}  // namespace
}  // namespace lockstep::parity::testing
