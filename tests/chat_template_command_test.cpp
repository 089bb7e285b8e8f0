// lockstep chat-template, as a person or a program runs it.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "run_program.h"

namespace lockstep::test {
namespace {

const std::string kModel = LOCKSTEP_SOURCE_DIR "/tests/fixtures/tokenizers/spbpe";

class ChatTemplateCommand : public testing::Test {
 public:
  ~ChatTemplateCommand() override { std::filesystem::remove(requests_); }

 protected:
  ChatTemplateCommand()
      : requests_((std::filesystem::temp_directory_path() /
                   ("lockstep_requests_" + std::to_string(::getpid()) + ".jsonl"))
                      .string()) {}
  void write(const std::string& text) const { std::ofstream(requests_) << text; }

  std::string requests_;
};

TEST_F(ChatTemplateCommand, ALineOutForEveryLineIn) {
  write(R"({"messages":[{"role":"user","content":"Hi é"}],"add_generation_prompt":true})"
        "\n\n"
        R"({"messages":[{"role":"user","content":" a\n"},{"role":"assistant","content":"b"}]})"
        "\n");
  const std::string expected =
      R"({"text":"<bos><start_of_turn>user\nHi é<end_of_turn>\n<start_of_turn>model\n"})"
      "\n"
      R"({"text":"<bos><start_of_turn>user\na<end_of_turn>\n<start_of_turn>model\nb<end_of_turn>\n"})"
      "\n";
  const Outcome from_file =
      run_lockstep("chat-template " + kModel + " --jsonl " + requests_, "2>/dev/null");
  EXPECT_EQ(from_file.status, 0);
  EXPECT_EQ(from_file.text, expected);
  const Outcome from_stdin =
      run_lockstep("chat-template " + kModel + " <" + requests_, "2>/dev/null");
  EXPECT_EQ(from_stdin.status, 0);
  EXPECT_EQ(from_stdin.text, expected);
}

TEST_F(ChatTemplateCommand, ErrorsNameTheLine) {
  write(R"({"messages":[{"role":"user","content":"a"},{"role":"user","content":"b"}]})");
  const Outcome refused = run_lockstep("chat-template " + kModel + " --jsonl " + requests_);
  EXPECT_EQ(refused.status, 2);
  EXPECT_NE(refused.text.find(requests_ + ": line 1: " + kModel +
                              "/chat_template.jinja: line 3: Conversation roles must alternate"),
            std::string::npos)
      << refused.text;
  write("{\"messages\":\n");
  const Outcome broken =
      run_lockstep("chat-template " + kModel + " --json --jsonl " + requests_, "2>/dev/null");
  EXPECT_EQ(broken.status, 2);
  EXPECT_EQ(nlohmann::json::parse(broken.text)["error"]["message"],
            requests_ + ": line 1: byte 13: not JSON");
}

TEST_F(ChatTemplateCommand, NoTemplate) {
  const Outcome none = run_lockstep("chat-template " LOCKSTEP_SOURCE_DIR "/tests </dev/null");
  EXPECT_EQ(none.status, 2);
  EXPECT_NE(none.text.find("no chat template"), std::string::npos) << none.text;
}

}  // namespace
}  // namespace lockstep::test
