// lockstep tokenize and generate --prompt, as programs use them.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "base/testing/temp_folder.h"
#include "run_program.h"

namespace lockstep {
namespace {

using nlohmann::json;
using test::run_lockstep;
using test::run_shell;

const std::string kFixtures = LOCKSTEP_SOURCE_DIR "/tests/fixtures/";

TEST(TokenizeCommand, ALineInALineOut) {
  const test::TempFolder folder;
  const auto path = folder.write("lines.jsonl",
                                 "{\"text\": \"Hello\"}\n\n"
                                 "{\"text\": \"\\u00e9\", \"add_special_tokens\": false}\n");
  const auto outcome = run_lockstep(
      "tokenize " + kFixtures + "tokenizers/spbpe --jsonl " + path.string(), "2>/dev/null");
  ASSERT_EQ(outcome.status, 0) << outcome.text;
  const size_t end = outcome.text.find('\n');
  const json first = json::parse(outcome.text.substr(0, end));
  const json second = json::parse(outcome.text.substr(end + 1));
  EXPECT_EQ(first["ids"].size(), first["tokens"].size());
  EXPECT_EQ(first["tokens"][0], "<bos>");
  EXPECT_EQ(first["decoded"], "<bos> Hello");
  EXPECT_EQ(first["decoded_skip_special"], "Hello");
  EXPECT_EQ(second["decoded"], "é");
}

TEST(TokenizeCommand, BadLinesAndFoldersAreErrorsInJson) {
  const auto bad_line =
      run_shell("echo '{\"txt\": 1}' | " LOCKSTEP_BINARY_DIR "/bin/lockstep tokenize " + kFixtures +
                "tokenizers/gpt2 2>/dev/null");
  EXPECT_EQ(bad_line.status, 2);
  const json error = json::parse(bad_line.text)["error"];
  EXPECT_NE(error["message"].get<std::string>().find("line 1: expected an object"),
            std::string::npos);
  const auto no_tokenizer = run_lockstep("tokenize " + kFixtures + " < /dev/null");
  EXPECT_EQ(no_tokenizer.status, 2);
  EXPECT_NE(no_tokenizer.text.find("no tokenizer.json"), std::string::npos);
}

TEST(GenerateCommand, TextInTextOut) {
  const std::string model = LOCKSTEP_SOURCE_DIR "/examples/storyteller";
  const std::string prompt = " --prompt 'The capital of Italy is' --max-tokens 4";
  const auto text = run_lockstep("generate " + model + prompt, "2>/dev/null");
  EXPECT_EQ(text.status, 0);
  EXPECT_EQ(text.text, " Rome.\n");
  const auto document = run_lockstep("generate " + model + prompt + " --json", "2>/dev/null");
  ASSERT_EQ(document.status, 0);
  const json parsed = json::parse(document.text);
  EXPECT_EQ(parsed["text"], " Rome.");
  EXPECT_EQ(parsed["prompt_ids"], json::parse("[591, 283, 298, 692, 273]"));
}

TEST(GenerateCommand, WantsOnePrompt) {
  const std::string model = LOCKSTEP_SOURCE_DIR "/examples/storyteller";
  EXPECT_EQ(run_lockstep("generate " + model).status, 2);
  EXPECT_EQ(run_lockstep("generate " + model + " --prompt a --prompt-ids 1").status, 2);
  const auto empty = run_lockstep("generate " + model + " --prompt ''");
  EXPECT_EQ(empty.status, 2);
  EXPECT_NE(empty.text.find("--prompt: the text has no tokens"), std::string::npos) << empty.text;
}

}  // namespace
}  // namespace lockstep
