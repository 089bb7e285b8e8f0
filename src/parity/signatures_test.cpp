// Patterns planted in recordings: the candidate that fits is named with its figure, and what is no
// pattern gets none.
#include "parity/signatures.h"

#include <gtest/gtest.h>

#include <functional>

#include "parity/prompt_difference.h"
#include "parity/test_dumps.h"
#include "parity/text_symptoms.h"

namespace lockstep::parity::testing {
namespace {

class Signatures : public ::testing::Test {
 protected:
  FakeRun reference = truth_run(some_ids(kTokens));
  FakeRun port = port_run(some_ids(kTokens));
  TempFolder folder;

  Compared compare(const std::vector<GreedyInfo>& of_reference = {},
                   const std::vector<GreedyInfo>& of_port = {}) {
    return compare_dumps(write_dump(folder / "reference", {reference}, of_reference),
                         write_dump(folder / "port", {port}, of_port));
  }

  /// The candidates' messages, in order.
  static std::vector<std::string> candidates(const Compared& c, const char* code = "candidate") {
    std::vector<std::string> out;
    for (const auto& finding : c.report.findings) {
      if (finding.code == code) out.push_back(finding.message);
    }
    return out;
  }

  /// What comes after a layer follows from it: it is off too.
  void spoil_from(int layer) {
    std::vector<std::string> paths{"model.norm", "lm_head"};
    for (int i = std::max(layer, 0); i < kLayers; ++i) {
      paths.push_back("model.layers." + std::to_string(i));
    }
    const auto spoil = [](FakeTensor& t) {
      const auto noise = random_values(t.values.size(), 31);
      for (size_t i = 0; i < noise.size(); ++i) t.values[i] += 0.05f * noise[i];
    };
    for (const std::string& path : paths) spoil(port.tap(path));
    spoil(*port.logits);
  }

  void expect_first(const std::string& path, const std::string& part, const std::string& meaning) {
    if (path != "lm_head") spoil_from(path.find("layers.1") == path.npos ? 0 : 1);
    const Compared c = compare();
    EXPECT_EQ(c.report.outcome, Outcome::kDiverged) << c.findings();
    ASSERT_NE(c.find("diverged"), nullptr) << c.findings();
    EXPECT_EQ(c.find("diverged")->tap, path + ":output");
    const auto found = candidates(c);
    ASSERT_FALSE(found.empty()) << c.findings();
    EXPECT_NE(found.front().find(part), std::string::npos) << c.findings();
    EXPECT_NE(found.front().find(meaning), std::string::npos) << c.findings();
  }
};

using Change = std::function<float(float value, int64_t token, int64_t channel)>;

void change(FakeTensor& t, const Change& by) {
  const auto width = static_cast<int64_t>(t.values.size()) / t.shape[0];
  for (size_t i = 0; i < t.values.size(); ++i) {
    const auto at = static_cast<int64_t>(i);
    t.values[i] = by(t.values[i], at / width, at % width);
  }
}

TEST_F(Signatures, AFactorEverywhere) {
  change(port.tap("model.embed_tokens"), [](float x, auto, auto) { return x * 8; });
  expect_first("model.embed_tokens", "8 times the reference everywhere (the square root",
               "embedding multiplier");
}

TEST_F(Signatures, AFactorAToken) {
  change(port.tap("model.layers.0.input_layernorm"),
         [](float x, int64_t t, auto) { return x * (1.1f + 0.02f * static_cast<float>(t)); });
  expect_first("model.layers.0.input_layernorm", "one factor a token", "epsilon");
}

TEST_F(Signatures, AFactorAChannel) {
  change(port.tap("model.layers.0.input_layernorm"),
         [](float x, auto, int64_t c) { return x * (1 + 0.01f * static_cast<float>(c)); });
  expect_first("model.layers.0.input_layernorm", "one factor a channel", "1 + w");
}

TEST_F(Signatures, ARowAdded) {
  change(port.tap("model.layers.1.self_attn.q_proj"),
         [](float x, auto, int64_t c) { return x + 0.3f * static_cast<float>(c % 7); });
  expect_first("model.layers.1.self_attn.q_proj", "one row, the same for all tokens", "a bias");
}

TEST_F(Signatures, RowsShifted) {
  FakeTensor& t = port.tap("model.embed_tokens");
  std::copy_backward(t.values.begin(), t.values.end() - kWidth, t.values.end());
  expect_first("model.embed_tokens", "token t is the reference's token t-1", "ids shifted");
}

TEST_F(Signatures, ChannelsPermuted) {
  FakeTensor& t = port.tap("model.layers.1.self_attn.q_proj");
  const std::vector<float> from = t.values;
  change(t, [&](float, int64_t token, int64_t c) {
    return from[static_cast<size_t>(token * kWidth + c / 2 + c % 2 * kWidth / 2)];
  });
  expect_first("model.layers.1.self_attn.q_proj", "channels stand at other places", "halves");
}

TEST_F(Signatures, ARotation) {
  FakeTensor& t = port.tap("model.layers.0.self_attn/q_rot");
  for (int token = 0; token < kTokens; ++token) {
    float* row = t.values.data() + token * kWidth;
    for (int c = 0; c < kWidth; c += 2) {
      const double angle = 0.1 * token, x = row[c], y = row[c + 1];
      row[c] = static_cast<float>(x * std::cos(angle) - y * std::sin(angle));
      row[c + 1] = static_cast<float>(x * std::sin(angle) + y * std::cos(angle));
    }
  }
  expect_first("model.layers.0.self_attn/q_rot", "token 0 is clean and every token keeps its norm",
               "the rotation");
}

TEST_F(Signatures, AWindow) {
  for (const char* path : {"model.layers.1.self_attn", "model.layers.1"}) {
    const auto noise = random_values(port.tap(path).values.size(), 5);
    change(port.tap(path), [&](float x, int64_t t, int64_t c) {
      return t < 9 ? x : x + noise[static_cast<size_t>(t * kWidth + c)];
    });
  }
  expect_first("model.layers.1.self_attn", "tokens 0 to 8 are clean, token 9 is the first",
               "a window");
}

TEST_F(Signatures, ACapOfTheLogits) {
  for (FakeTensor* t : {&port.tap("lm_head"), &*port.logits}) {
    change(*t, [](float x, auto, auto) { return 2 * std::tanh(x / 2); });
  }
  expect_first("lm_head", "rises with the reference", "soft cap");
}

TEST_F(Signatures, NothingInCommon) {
  FakeTensor& t = port.tap("model.layers.1.mlp");
  t.values = random_values(t.values.size(), 4242);
  expect_first("model.layers.1.mlp", "unrelated", "not loaded");
}

// A difference of no pattern is given no name.
TEST_F(Signatures, NoiseHasNoName) {
  for (const char* path : {"model.layers.1.mlp", "model.layers.1"}) {
    const auto noise = random_values(port.tap(path).values.size(), 7);
    change(port.tap(path), [&](float x, int64_t t, int64_t c) {
      return x + 0.2f * noise[static_cast<size_t>(t * kWidth + c)];
    });
  }
  spoil_from(1);
  const Compared c = compare();
  EXPECT_EQ(c.report.outcome, Outcome::kDiverged) << c.findings();
  EXPECT_TRUE(candidates(c).empty()) << c.findings();
}

TEST_F(Signatures, ASpikeIsToldFromItsReverse) {
  for (const bool in_port : {false, true}) {
    FakeRun kept_reference = reference, kept_port = port;
    FakeRun& side = in_port ? port : reference;
    side.tap("model.layers.1").values[5 * kWidth + 3] = 4000;
    spoil_from(2);
    const Compared c = compare();
    const auto found = candidates(c, "spike");
    ASSERT_EQ(found.size(), 1u) << c.findings();
    EXPECT_EQ(found[0].find(in_port ? "the port has a massive value" : "the reference has a"), 0u)
        << found[0];
    EXPECT_NE(found[0].find("token 5, channel 3"), std::string::npos) << found[0];
    reference = kept_reference;
    port = kept_port;
  }
}

TEST_F(Signatures, ATextThatDiffersAtATieIsNoFault) {
  GreedyInfo sound{"float32", "eager", 0, {7, 8, 9, 10}, {3, 3, 1e-7, 3}};
  GreedyInfo own = sound;
  own.tokens = {7, 8, 11, 4};
  Compared c = compare({sound}, {own});
  EXPECT_EQ(c.report.outcome, Outcome::kPass) << c.findings();
  ASSERT_NE(c.find("text_tie"), nullptr) << c.findings();
  std::filesystem::remove_all(folder / "reference");
  std::filesystem::remove_all(folder / "port");
  sound.margins[2] = 0.5;
  c = compare({sound}, {own});
  EXPECT_EQ(c.report.outcome, Outcome::kDiverged) << c.findings();
  ASSERT_NE(c.find("text"), nullptr) << c.findings();
  EXPECT_NE(c.find("text")->message.find("token 2"), std::string::npos) << c.findings();
}

std::string symptom(const std::vector<int64_t>& prompt, const std::vector<int64_t>& reference,
                    const std::vector<int64_t>& port) {
  const auto found = text_symptoms({prompt, reference, port});
  return found.empty() ? "" : found[0].symptom + ": " + found[0].candidates.at(0);
}

TEST(TextSymptoms, AreNamedAndRanked) {
  const std::vector<int64_t> prompt{1, 5, 9}, sound{20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30};
  EXPECT_EQ(symptom(prompt, sound, sound), "");
  EXPECT_EQ(symptom(prompt, sound, {20, 7, 7, 7, 7, 7, 7}),
            "one token, 7, 6 times at the end: positions that do not advance while decoding");
  EXPECT_EQ(symptom(prompt, sound, {20, 21, 3, 4, 5, 3, 4, 5, 3, 4, 5}),
            "a loop of 3 tokens, after 2: positions or cache rows of decode steps");
  EXPECT_EQ(symptom(prompt, sound, {9, 3, 8, 2}).find("the prompt's last token, 9, comes again"), 0u);
  EXPECT_EQ(symptom(prompt, sound, {20, 21}).find("it ends after 2 tokens"), 0u);
  EXPECT_EQ(symptom(prompt, sound, {20, 3, 8, 2}).find("the first token is right, the second"), 0u);
  EXPECT_EQ(symptom(prompt, sound, {2, 3, 8, 4}).find("the first token is wrong already"), 0u);
  // A reference that repeats itself is followed.
  EXPECT_EQ(symptom(prompt, {4, 4, 4, 4, 4, 4, 8}, {4, 4, 4, 4, 4, 4, 4}).find("one token"),
            std::string::npos);
}

TEST(TextSymptoms, WorseWithLength) {
  const std::vector<int64_t> a{1, 2, 3}, b{1, 2, 4};
  const std::vector<int64_t> brief(10, 1), longer(200, 1);
  EXPECT_EQ(length_symptoms({{brief, a, a}, {longer, a, b}}).at(0).symptom,
            "right up to 13 tokens, wrong from 202 on");
  EXPECT_TRUE(length_symptoms({{brief, a, b}, {longer, a, a}}).empty());
}

TEST(PromptDifference, SaysWhatItLooksLike) {
  EXPECT_NE(prompt_difference({1, 5, 6}, {1, 1, 5, 6}).find("the port has its first id twice"),
            std::string::npos);
  EXPECT_NE(prompt_difference({1, 5, 6}, {5, 6}).find("the reference has 1 more in front"),
            std::string::npos);
  EXPECT_NE(prompt_difference({5, 6}, {5, 6, 2}).find("the port goes on for 1 more"),
            std::string::npos);
  EXPECT_EQ(prompt_difference({5, 6}, {5, 7}), "at position 1 the reference has 6, the port 7");
}

}  // namespace
}  // namespace lockstep::parity::testing
