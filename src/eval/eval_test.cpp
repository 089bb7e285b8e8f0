#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>

#include "base/file.h"
#include "eval/run.h"
#include "lockstep/error.h"

namespace lockstep::eval {
namespace {

namespace fs = std::filesystem;

class EvalTest : public testing::Test {
 public:
  EvalTest() {
    std::string pattern = (fs::temp_directory_path() / "lockstep-eval-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
  }
  ~EvalTest() override { fs::remove_all(folder_); }

  fs::path write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name) << text;
    return folder_ / name;
  }
  Task read(const char* task, const std::string& jsonl, int64_t shots = 0) const {
    TaskOptions options;
    options.shots = shots;
    return read_task(task, write("rows.jsonl", jsonl), options);
  }
  std::string refusal(const char* task, const std::string& jsonl, int64_t shots = 0) const {
    try {
      (void)read(task, jsonl, shots);
    } catch (const Error& error) {
      return error.message();
    }
    return "taken";
  }
  // Rows of two choices each, the first of which is right.
  Task pairs(size_t n) const {
    std::string rows;
    for (size_t i = 0; i < n; ++i) {
      rows += fmt::format(R"({{"ctx":"c{}","endings":["right","wrong"],"label":0}})", i) + "\n";
    }
    return read("hellaswag", rows);
  }

  fs::path folder_;
};

// The first choice is likelier, but for items in `wrong`; dies at the item `dies_at`.
class FakeScorer : public Scorer {
 public:
  std::unique_ptr<Session> open() override {
    struct FakeSession : Session {
      explicit FakeSession(FakeScorer& s) : scorer(s) {}
      std::vector<Loglikelihood> loglikelihood(std::span<const Choice> choices) override {
        if (scorer.n_asked++ == scorer.dies_at) {
          throw Error(ErrorCode::kUnavailable, "http://there: no answer: gone");
        }
        const bool is_wrong = scorer.always_wrong;
        std::vector<Loglikelihood> scored;
        for (size_t i = 0; i < choices.size(); ++i) {
          const bool is_best = (i == 0) != is_wrong;
          scored.push_back({is_best ? -1.0 : -1.0 - scorer.gap, is_best, 1, false});
        }
        return scored;
      }
      Generated generate(const std::string&, std::span<const std::string>, int64_t) override {
        return {" is 12", true, false};
      }
      FakeScorer& scorer;
    };
    return std::make_unique<FakeSession>(*this);
  }
  std::string model() const override { return name; }
  std::string version() const override { return "1"; }

  std::string name = "fake";
  std::atomic<int> n_asked = 0;
  int dies_at = -1;
  bool always_wrong = false;
  double gap = 2;
};

TEST_F(EvalTest, FormatsOfTheTasks) {
  const Task gsm8k = read("gsm8k",
                          R"({"question":"1 + 1?","answer":"It is 2.\n#### 2"})"
                          "\n"
                          R"({"question":"2 + 2?","answer":"#### 1,004"})",
                          1);
  ASSERT_EQ(gsm8k.items.size(), 1u);
  EXPECT_EQ(gsm8k.items[0].prompt,
            "Question: 1 + 1?\nAnswer: It is 2.\n#### 2\n\nQuestion: 2 + 2?\nAnswer:");
  EXPECT_EQ(final_number(gsm8k.items[0].answer), "1004");

  const Item mmlu =
      read(
          "mmlu",
          R"({"question":"Q","subject":"high_school_physics","choices":["a","b","c","d"],"answer":"C"})")
          .items[0];
  EXPECT_EQ(mmlu.choices[2].context,
            "The following are multiple choice questions (with answers) about high school "
            "physics.\n\nQ\nA. a\nB. b\nC. c\nD. d\nAnswer:");
  EXPECT_EQ(mmlu.choices[2].continuation, " C");
  EXPECT_EQ(mmlu.right, std::vector<size_t>{2});

  const Item swag =
      read(
          "hellaswag",
          R"({"activity_label":"Ski","ctx_a":"He [x] goes.","ctx_b":"THE end","endings":["up [title] on","é"],"label":"1"})")
          .items[0];
  EXPECT_EQ(swag.choices[0].context, "Ski: He goes. The end");
  EXPECT_EQ(swag.choices[0].continuation, " up. on");
  EXPECT_EQ(swag.choices[1].length, 1);

  const Item arc =
      read("arc",
           R"({"question":"Q","choices":{"text":["x","y"],"label":["1","2"]},"answerKey":"2"})")
          .items[0];
  EXPECT_EQ(arc.choices[1].context + arc.choices[1].continuation, "Question: Q\nAnswer: y");
  EXPECT_EQ(arc.right, std::vector<size_t>{1});

  const Item wino =
      read(
          "winogrande",
          R"({"sentence":"Ann met Eve, and _ was glad.","option1":"Ann","option2":"Eve","answer":"2"})")
          .items[0];
  EXPECT_EQ(wino.choices[1].context, "Ann met Eve, and Eve");
  EXPECT_EQ(wino.choices[1].continuation, " was glad.");
  EXPECT_EQ(wino.right, std::vector<size_t>{1});

  const Task truth = read(
      "truthfulqa", R"({"question":"Q","mc2_targets":{"choices":["a","b","c"],"labels":[1,0,1]}})");
  EXPECT_EQ(truth.items[0].right, (std::vector<size_t>{0, 2}));
  EXPECT_NEAR(truth.chance, 2.0 / 3, 1e-12);

  const Item gpqa =
      read(
          "gpqa",
          R"({"Question":"Q","Correct Answer":"r","Incorrect Answer 1":"x","Incorrect Answer 2":"y","Incorrect Answer 3":"z"})")
          .items[0];
  const std::string letter = gpqa.choices[gpqa.right[0]].continuation.substr(1);
  EXPECT_NE(gpqa.choices[0].context.find("\n" + letter + ". r"), std::string::npos);
}

TEST_F(EvalTest, ARowThatIsNoneIsNamed) {
  EXPECT_NE(refusal("mmlu", "{}\n").find("rows.jsonl:1: question: expected"), std::string::npos);
  EXPECT_NE(refusal("mmlu", "\n[1]\n").find("rows.jsonl:2: expected a JSON object"),
            std::string::npos);
  EXPECT_NE(refusal("mmlu", R"({"question":"q","choices":["a","b"],"answer":2})").find("answer"),
            std::string::npos);
  EXPECT_NE(refusal("mmlu", R"({"question":"q","choices":["a"],"answer":0})").find("at least two"),
            std::string::npos);
  EXPECT_NE(refusal("gsm8k", R"({"question":"q","answer":"none"})").find("number"),
            std::string::npos);
  EXPECT_NE(refusal("winogrande", R"({"sentence":"x","option1":"a","option2":"b","answer":"1"})")
                .find("sentence"),
            std::string::npos);
  EXPECT_NE(refusal("hellaswag", "").find("found none"), std::string::npos);
  EXPECT_NE(refusal("gsm8k", R"({"question":"q","answer":"1"})", 3).find("expected 3 examples"),
            std::string::npos);
  EXPECT_NE(refusal("gsm8k", R"({"format":{"promt":"x"}})").find("promt"), std::string::npos);
  EXPECT_NE(refusal("nothing", "{}").find("there is none"), std::string::npos);
}

TEST_F(EvalTest, NamesInTextsAreNoFormat) {
  const Task task =
      read("hellaswag", R"({"ctx":"{answer} is","endings":["{question}","b"],"label":0})");
  EXPECT_EQ(task.items[0].choices[0].context, "{answer} is");
  EXPECT_EQ(task.items[0].choices[0].continuation, " {question}");
}

TEST(FinalNumberTest, IsTheLastOrTheMarked) {
  EXPECT_EQ(final_number("5 + 7 = 12."), "12");
  EXPECT_EQ(final_number("so $1,250.50, done"), "1250.50");
  EXPECT_EQ(final_number("x #### -3 and 4"), "-3");
  EXPECT_EQ(final_number("10-3"), "-3");
  EXPECT_EQ(final_number("none"), "");
}

TEST_F(EvalTest, ScoresAndTheirError) {
  const Task task = pairs(10);
  FakeScorer scorer;
  const Summary summary = run(task, scorer, {});
  EXPECT_EQ(summary.n_done, 10u);
  EXPECT_EQ(summary.metrics.at("acc").value, 1);
  EXPECT_EQ(summary.metrics.at("acc").standard_error, 0);
  EXPECT_NEAR(summary.metrics.at("mc2").value, 1 / (1 + std::exp(-2)), 1e-12);
  EXPECT_TRUE(summary.ties.empty());
  scorer.gap = 1e-4;
  EXPECT_EQ(run(task, scorer, {}).ties.size(), 10u);
}

TEST_F(EvalTest, WhatCannotBeReachedStops) {
  const Task task = pairs(100);
  FakeScorer scorer;
  scorer.always_wrong = true;
  RunOptions options;
  options.target = 0.9;
  options.concurrency = 1;
  const Summary summary = run(task, scorer, options);
  EXPECT_EQ(summary.outcome, Outcome::kUnreachable);
  EXPECT_EQ(summary.n_done, 11u);
}

TEST_F(EvalTest, GoesOnWhereItEnded) {
  const Task task = pairs(20);
  RunOptions options;
  options.concurrency = 1;
  options.output = folder_ / "answers";
  FakeScorer scorer;
  scorer.dies_at = 7;
  const Summary first = run(task, scorer, options);
  EXPECT_EQ(first.outcome, Outcome::kInterrupted);
  EXPECT_EQ(first.n_done, 7u);
  EXPECT_NE(first.error.find("gone"), std::string::npos);
  // A line that was being written when the power went.
  std::ofstream(options.output, std::ios::app) << R"({"item":7,"id)";

  FakeScorer again;
  const Summary second = run(task, again, options);
  EXPECT_EQ(second.outcome, Outcome::kDone);
  EXPECT_EQ(second.n_kept, 7u);
  EXPECT_EQ(again.n_asked, 13);
  EXPECT_EQ(second.metrics.at("acc").value, 1);

  FakeScorer other;
  other.name = "another";
  EXPECT_THROW((void)run(task, other, options), Error);
  EXPECT_THROW((void)run(pairs(19), scorer, options), Error);
  options.output = write("something", "{\"a\":1}\n");
  EXPECT_THROW((void)run(task, again, options), Error);
}

TEST(CutAtStopTest, TheFirstOfAll) {
  std::string text = "one. two; three";
  const std::vector<std::string> stop = {";", "."};
  EXPECT_TRUE(cut_at_stop(text, stop));
  EXPECT_EQ(text, "one");
  EXPECT_FALSE(cut_at_stop(text, stop));
}

TEST(EncodeChoiceTest, ContextAndContinuationAreOneText) {
  const auto tokenizer =
      text::Tokenizer::open(std::string(LOCKSTEP_SOURCE_DIR) + "/examples/storyteller");
  const Choice choice{"The capital of Italy is ", "Rome.", 4};
  const EncodedChoice encoded = encode_choice(tokenizer, choice, 0);
  EXPECT_EQ(encoded.ids, tokenizer.encode("The capital of Italy is Rome."));
  EXPECT_EQ(encoded.n_context, tokenizer.encode("The capital of Italy is").size());
  const EncodedChoice cut =
      encode_choice(tokenizer, choice, static_cast<int64_t>(encoded.ids.size()) - 2);
  EXPECT_TRUE(cut.is_cut);
  EXPECT_EQ(cut.ids.size() - cut.n_context, encoded.ids.size() - encoded.n_context);
  EXPECT_EQ(cut.ids.back(), encoded.ids.back());
  EXPECT_THROW((void)encode_choice(tokenizer, {"a", "", 0}, 0), Error);
  EXPECT_THROW((void)encode_choice(tokenizer, choice, 2), Error);
}

}  // namespace
}  // namespace lockstep::eval
