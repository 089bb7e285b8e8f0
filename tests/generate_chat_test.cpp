// Text in, text out: generate and dump with --chat and --prompt, as a person or a program runs
// them.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "run_program.h"
#include "support.h"
#include "text/tokenizer.h"

namespace lockstep::test {
namespace {

using nlohmann::json;

const std::string kStoryteller = LOCKSTEP_SOURCE_DIR "/examples/storyteller";
const std::string kGemma =
    LOCKSTEP_SOURCE_DIR "/tests/fixtures/gemma3";                      // its template writes <bos>
const std::string kGpt2 = LOCKSTEP_SOURCE_DIR "/tests/fixtures/gpt2";  // has no template
const std::string kQuestion = " --chat 'What is the capital of Italy?'";

size_t count(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++n;
  return n;
}

TEST(GenerateChat, AnswersAndStopsAtTheEndToken) {
  const Outcome text = run_lockstep("generate " + kStoryteller + kQuestion, "2>/dev/null");
  EXPECT_EQ(text.status, 0);
  EXPECT_EQ(text.text, "The capital of Italy is Rome.\n");
  const Outcome document =
      run_lockstep("generate " + kStoryteller + kQuestion + " --json", "2>/dev/null");
  ASSERT_EQ(document.status, 0) << document.text;
  const json parsed = json::parse(document.text);
  EXPECT_EQ(parsed["text"], "The capital of Italy is Rome.");
  EXPECT_EQ(parsed["prompt_ids"], Golden("storyteller").expected["prompt_ids"][4]);
  EXPECT_EQ(parsed["tokens"].back(), 2) << "generation_config.json's eos_token_id";
  EXPECT_EQ(parsed["logprobs"].size(), parsed["tokens"].size());
}

TEST(GenerateChat, TheTemplatesBosIsTheOnlyOneAndIsSaid) {
  const std::string run = "generate " + kGemma + kQuestion + " --max-tokens 1 --json ";
  const Outcome document = run_lockstep(run, "2>/dev/null");
  ASSERT_EQ(document.status, 0) << document.text;
  EXPECT_EQ(json::parse(document.text)["prompt_ids"], Golden("gemma3").expected["prompt_ids"][4]);
  const Outcome said = run_lockstep(run, "2>&1 >/dev/null");
  EXPECT_EQ(count(said.text, "--chat: the template wrote <bos>; the tokenizer's own is left out"),
            1U)
      << said.text;
  const Outcome without = run_lockstep(
      "generate " + kStoryteller + kQuestion + " --max-tokens 1 --json ", "2>&1 >/dev/null");
  EXPECT_EQ(without.text.find("--chat:"), std::string::npos) << without.text;
}

TEST(GenerateChat, ATemplateWithoutBosHasNoneAndThatIsSaid) {
  const TempDir model;
  for (const auto& entry : std::filesystem::directory_iterator(kGemma)) {
    std::filesystem::create_symlink(entry.path(), model.path() / entry.path().filename());
  }
  std::filesystem::remove(model.path() / "chat_template.jinja");
  write_text(model.path() / "chat_template.jinja", "{{ messages[0]['content'] }}");
  const std::string run =
      "generate " + model.path().string() + " --max-tokens 1 --json --chat 'The capital' ";
  const Outcome document = run_lockstep(run, "2>/dev/null");
  ASSERT_EQ(document.status, 0) << document.text;
  const text::Tokenizer tokenizer = text::Tokenizer::open(kGemma);
  EXPECT_EQ(json::parse(document.text)["prompt_ids"],
            json(tokenizer.encode("The capital", {.add_special_tokens = false})));
  const Outcome said = run_lockstep(run, "2>&1 >/dev/null");
  EXPECT_EQ(count(said.text, "--chat: the template wrote no <bos>, so there is none"), 1U)
      << said.text;
}

TEST(GenerateChat, ABosInAPromptIsThereTwiceAndIsSaid) {
  const std::string run = "generate " + kGemma + " --max-tokens 1 --json --prompt ";
  const Outcome document = run_lockstep(run + "'<bos>The'", "2>/dev/null");
  ASSERT_EQ(document.status, 0) << document.text;
  const json ids = json::parse(document.text)["prompt_ids"];
  EXPECT_EQ(ids[0], ids[1]);
  const std::string warning = "--prompt: the text begins with <bos>, which the tokenizer adds";
  const Outcome said = run_lockstep(run + "'<bos>The'", "2>&1 >/dev/null");
  EXPECT_EQ(count(said.text, warning), 1U) << said.text;
  const Outcome plain = run_lockstep(run + "'The'", "2>&1 >/dev/null");
  EXPECT_EQ(count(plain.text, warning), 0U) << plain.text;
}

TEST(GenerateChat, WhatCannotBeAPrompt) {
  const auto fails = [](const std::string& arguments, const std::string& message) {
    const Outcome outcome = run_lockstep(arguments);
    EXPECT_EQ(outcome.status, 2) << arguments;
    EXPECT_NE(outcome.text.find(message), std::string::npos) << outcome.text;
  };
  fails("generate " + kGpt2 + kQuestion, "no chat template");
  fails("generate " + kStoryteller + kQuestion + " --prompt a", "--chat");
  fails("generate " + kStoryteller + " --chat \"$(printf 'a\\377')\"", "UTF-8");
  fails("dump " + kStoryteller + kQuestion + " --prompt-ids 1 --stats", "--chat");
}

TEST(GenerateDrawn, ASeedDrawsTheSameAndTheModelsDefaultsHold) {
  const std::string run = "generate " + kStoryteller + kQuestion + " --ignore-eos --max-tokens 30 ";
  const auto drawn = [&](const std::string& rest) {
    return run_lockstep(run + "--temperature 1.5 " + rest, "2>/dev/null").text;
  };
  const std::string greedy = run_lockstep(run, "2>/dev/null").text;
  const std::string text = drawn("--seed 7");
  EXPECT_EQ(drawn("--seed 7"), text);
  EXPECT_NE(drawn("--seed 8"), text);
  EXPECT_EQ(drawn("--seed 8 --top-k 1"), greedy);

  TempDir model;
  std::filesystem::copy(fixture("storyteller"), model.path() / "model",
                        std::filesystem::copy_options::recursive);
  write_text(model.path() / "model" / "generation_config.json",
             R"({"top_k": 1, "temperature": 0.1, "eos_token_id": 2})");
  const std::string own = "generate " + (model.path() / "model").string() + kQuestion +
                          " --ignore-eos --max-tokens 30 --temperature 1.5 --seed 8";
  EXPECT_EQ(run_lockstep(own, "2>/dev/null").text, greedy);
  const std::string said = run_lockstep(own, "2>&1 >/dev/null").text;
  EXPECT_NE(said.find("temperature 1.5, top_k 1, top_p 1, min_p 0, seed 8"), std::string::npos)
      << said;
}

TEST(GenerateDrawn, WhatCannotBeIsRefusedByName) {
  const std::pair<std::string, std::string> cases[] = {
      {"--temperature 1 --top-p 0", "--top-p: expected above 0"},
      {"--temperature 1 --top-k -2", "--top-k: expected -1"},
      {"--temperature 1 --min-p 2", "--min-p: expected 0 to 1"},
      {"--temperature -1", "--temperature: expected a number of at least 0"},
      {"--temperature nan", "--temperature: expected a number of at least 0"},
      {"--repetition-penalty 0", "--repetition-penalty: expected above 0"},
      {"--top-k 3", "--top-k requires --temperature"}};
  for (const auto& [flags, message] : cases) {
    const Outcome run = run_lockstep("generate " + kStoryteller + kQuestion + " " + flags);
    EXPECT_EQ(run.status, 2) << flags;
    EXPECT_NE(run.text.find(message), std::string::npos) << run.text;
  }
}

TEST(DumpText, IsTheDumpOfItsIds) {
  const auto stats = [](const std::string& prompt) {
    const Outcome outcome =
        run_lockstep("dump " + kStoryteller + prompt + " --stats --json", "2>/dev/null");
    EXPECT_EQ(outcome.status, 0) << outcome.text;
    return json::parse(outcome.text)["taps"];
  };
  const json prompt_ids = Golden("storyteller").expected["prompt_ids"];
  const auto ids = [&](size_t i) {
    std::string text = prompt_ids[i].dump();
    return " --prompt-ids " + text.substr(1, text.size() - 2);
  };
  EXPECT_EQ(stats(" --prompt 'The capital of France is'"), stats(ids(0)));
  EXPECT_EQ(stats(kQuestion), stats(ids(4)));
  EXPECT_NE(stats(ids(0)), stats(ids(4)));
}

}  // namespace
}  // namespace lockstep::test
