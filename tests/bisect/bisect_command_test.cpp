// The command: status, JSON, the command that repeats a finding; verdicts kept from run to run.
#include <gtest/gtest.h>

#include <algorithm>

#include "../run_program.h"
#include "../support.h"

namespace lockstep::test {
namespace {

const std::string kModel = (source_dir() / "examples" / "storyteller").string();
const std::string kReference = kModel + "/reference";

TEST(BisectCommandTest, AStageAloneInJson) {
  const Outcome outcome =
      run_lockstep("bisect " + kModel + " --reference " + kReference +
                       " --stage incremental --steps 8 --prompt 0 --threads 1 --json",
                   "2>/dev/null");
  EXPECT_EQ(outcome.status, 0) << outcome.text;
  const nlohmann::json json = nlohmann::json::parse(outcome.text);
  EXPECT_EQ(json["verdict"], "pass");
  EXPECT_TRUE(json["first_stage"].is_null());
  ASSERT_EQ(json["stages"].size(), 1u);
  EXPECT_EQ(json["stages"][0]["stage"], "incremental");
  EXPECT_GT(json["covered"]["tokens"], 8);
}

TEST(BisectCommandTest, WrongUseIsStatusTwo) {
  EXPECT_EQ(run_lockstep("bisect " + kModel + " --reference /nonexistent").status, 2);
  const Outcome stage =
      run_lockstep("bisect " + kModel + " --reference " + kReference + " --stage cached");
  EXPECT_EQ(stage.status, 2);
  EXPECT_NE(stage.text.find("prefix-cached"), std::string::npos) << stage.text;
  // No prompt of that number: nothing can be decided.
  const Outcome prompt =
      run_lockstep("bisect " + kModel + " --reference " + kReference + " --prompt 99");
  EXPECT_EQ(prompt.status, 2) << prompt.text;
}

TEST(BisectCommandTest, NobodyListening) {
  const Outcome outcome = run_lockstep("bisect " + kModel + " --reference " + kReference +
                                       " --steps 2 --base-url http://127.0.0.1:9/v1");
  EXPECT_EQ(outcome.status, 2) << outcome.text;
  EXPECT_NE(outcome.text.find("127.0.0.1:9"), std::string::npos) << outcome.text;
}

TEST(RunToRunTest, WhatWasSavedIsComparedWithoutAReference) {
  const TempDir temp;
  const std::string saved = (temp.path() / "saved").string();
  const std::string home = "XDG_CACHE_HOME=" + (temp.path() / "cache").string() + " ";
  const std::string program = home + LOCKSTEP_BINARY_DIR "/bin/lockstep verify --dtype float32 ";
  const Outcome save =
      run_shell(program + kModel + " --reference " + kReference + " --save " + saved + " 2>&1");
  EXPECT_EQ(save.status, 0) << save.text;
  EXPECT_NE(save.text.find("--against " + saved), std::string::npos) << save.text;
  const Outcome against =
      run_shell(program + kModel + " --against " + saved + " --json 2>/dev/null");
  EXPECT_EQ(against.status, 0) << against.text;
  const nlohmann::json json = nlohmann::json::parse(against.text);
  EXPECT_EQ(json["verdict"], "pass");
  ASSERT_FALSE(json["greedy"].empty());
  for (const auto& greedy : json["greedy"]) EXPECT_EQ(greedy["outcome"], "same");
  EXPECT_EQ(json["since_last_run"]["move"], "first run");
  const Outcome again = run_shell(program + kModel + " --against " + saved + " --json 2>/dev/null");
  EXPECT_EQ(nlohmann::json::parse(again.text)["since_last_run"]["move"], "same content");
}

}  // namespace
}  // namespace lockstep::test
