#include "text/chat_template.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "base/file.h"
#include "lockstep/error.h"

namespace lockstep {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

/// A model folder that goes when the test does.
class ChatTemplateTest : public testing::Test {
 public:
  ~ChatTemplateTest() override { fs::remove_all(folder_); }

 protected:
  ChatTemplateTest()
      : folder_(fs::temp_directory_path() /
                ("lockstep_chat_" + std::to_string(::getpid()) + "_" +
                 testing::UnitTest::GetInstance()->current_test_info()->name())) {
    fs::create_directories(folder_ / "chat_templates");
  }

  void write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name) << text;
  }
  std::string render(const Json& request) const {
    return ChatTemplate::open(folder_).render(ChatRequest::from_json(request)).text;
  }
  std::string error_of(const Json& request, ErrorCode code = ErrorCode::kInvalidArgument) const {
    try {
      ADD_FAILURE() << render(request);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.message();
      return error.message();
    }
    return {};
  }

  fs::path folder_;
};

const Json kHello = {{"messages", {{{"role", "user"}, {"content", "Hello"}}}}};

Json with(Json request, const std::string& key, const Json& value) {
  request[key] = value;
  return request;
}

TEST(ChatTemplate, RecordedChatsOfTheTokenizers) {
  const fs::path fixtures = LOCKSTEP_SOURCE_DIR "/tests/fixtures/tokenizers";
  size_t n_rows = 0;
  for (const auto& entry : fs::directory_iterator(fixtures)) {
    if (!fs::exists(entry.path() / "expected_chat.json")) continue;
    const ChatTemplate chat = ChatTemplate::open(entry.path());
    for (const Json& row : Json::parse(read_text_file(entry.path() / "expected_chat.json"))) {
      Json request = row;
      request.erase("text");
      EXPECT_EQ(chat.render(ChatRequest::from_json(request)).text, row["text"].get<std::string>())
          << entry.path() << ": " << request;
      ++n_rows;
    }
  }
  EXPECT_GE(n_rows, 12u);
}

TEST_F(ChatTemplateTest, SpecialTokensOfBothGenerations) {
  write("chat_template.jinja", "{{ bos_token }}|{{ eos_token }}|{{ image_token }}|{{ pad_token }}");
  write("tokenizer_config.json",
        R"({"bos_token": {"__type": "AddedToken", "content": "<s>", "lstrip": false},
            "eos_token": "</s>", "image_token": "<img>", "pad_token": null,
            "added_tokens_decoder": {}})");
  EXPECT_EQ(render(kHello), "<s>|</s>|<img>|");
  EXPECT_EQ(render(with(kHello, "bos_token", "mine")), "mine|</s>|<img>|");
  // Without added tokens in the config, the older file counts.
  write("tokenizer_config.json", R"({"bos_token": "<old>", "eos_token": "</s>",
                                     "extra_special_tokens": {"image_token": "<i>"}})");
  write("special_tokens_map.json", R"({"bos_token": {"content": "<map>"}, "pad_token": "<pad>"})");
  EXPECT_EQ(render(kHello), "<map>|</s>|<i>|<pad>");
}

TEST_F(ChatTemplateTest, ChoosesAmongTemplates) {
  write("tokenizer_config.json",
        R"({"chat_template": [{"name": "default", "template": "plain"},
                              {"name": "tool_use", "template": "tools {{ tools | default([], true) | length }}"}]})");
  EXPECT_EQ(render(kHello), "plain");
  EXPECT_EQ(render(with(kHello, "tools", Json::array({Json::object()}))), "tools 1");
  EXPECT_EQ(render(with(kHello, "chat_template", "tool_use")), "tools 0");
  EXPECT_EQ(error_of(with(kHello, "chat_template", "rag")),
            folder_.string() + ": no chat template \"rag\"");
  // Files come before what the config has.
  write("chat_templates/rag.jinja", "rag {{ documents }}");
  EXPECT_EQ(error_of(kHello), folder_.string() + ": no chat template without a name");
  write("chat_template.jinja", "file");
  EXPECT_EQ(render(kHello), "file");
  EXPECT_EQ(render(with(kHello, "chat_template", "rag")), "rag None");
  EXPECT_EQ(ChatTemplate::open(folder_).names(), (std::vector<std::string>{"default", "rag"}));
}

TEST_F(ChatTemplateTest, ContinuesTheFinalMessage) {
  write("chat_template.jinja",
        "{% for m in messages %}<{{ m.role }}>{{ m['content'] if m.content is string else "
        "m.content | map(attribute='text') | join }}</>{% endfor %}");
  Json request = {
      {"messages",
       {{{"role", "user"}, {"content", "Hi"}}, {{"role", "assistant"}, {"content", "Once upon "}}}},
      {"continue_final_message", true}};
  EXPECT_EQ(render(request), "<user>Hi</><assistant>Once upon ");
  request["messages"][1]["content"] = {{{"type", "text"}, {"text", "a"}},
                                       {{"type", "text"}, {"text", "b"}}};
  EXPECT_EQ(render(request), "<user>Hi</><assistant>ab");
  EXPECT_EQ(error_of(with(request, "add_generation_prompt", true)),
            "continue_final_message and add_generation_prompt exclude each other");
  EXPECT_EQ(error_of(with(request, "continue_final_message", "reasoning")),
            "continue_final_message: the template has no field \"reasoning\"");
  request["messages"][1]["content"] = nullptr;
  EXPECT_EQ(error_of(request),
            "continue_final_message is set, but the final message has no \"content\" to continue");
}

TEST_F(ChatTemplateTest, ContinuesWhereTheTemplateTrims) {
  write("chat_template.jinja", "{% for m in messages %}[{{ m.content | trim }}]{% endfor %}");
  const Json request = {{"messages", {{{"role", "assistant"}, {"content", " Once upon \n"}}}},
                        {"continue_final_message", true}};
  EXPECT_EQ(render(request), "[Once upon");
  write("chat_template.jinja", "{{ messages[0].content[:3] }}");
  EXPECT_EQ(error_of(request),
            "continue_final_message is set, but the final message does not appear in the chat "
            "after applying the template");
}

TEST_F(ChatTemplateTest, BadInput) {
  EXPECT_EQ(error_of(kHello, ErrorCode::kNotFound),
            folder_.string() +
                ": no chat template: neither chat_template.jinja, nor chat_templates/, nor "
                "chat_template in tokenizer_config.json");
  write("chat_template.jinja", "\n{{ messages[0].content }");
  EXPECT_EQ(error_of(kHello), (folder_ / "chat_template.jinja").string() +
                                  ": line 2: TemplateSyntaxError: unexpected '}'");
  write("chat_template.jinja", "x");
  EXPECT_EQ(error_of({{"messages", Json::array()}}), "messages: an empty list is no chat");
  EXPECT_EQ(error_of({{"messages", {1}}}), "messages[0]: expected an object, found number");
  EXPECT_EQ(error_of({{"messages", "hello"}}),
            "messages: expected a list of objects, found string");
  EXPECT_EQ(error_of(Json::object()), "a chat needs the member \"messages\"");
  EXPECT_EQ(error_of(with(kHello, "add_generation_prompt", 1)),
            "add_generation_prompt: expected true or false, found number");
  EXPECT_EQ(error_of(with(kHello, "tools", 1)), "tools: expected a list of objects, found number");
  write("tokenizer_config.json", "[1]");
  EXPECT_EQ(error_of(kHello),
            (folder_ / "tokenizer_config.json").string() + ": expected an object, found array");
}

}  // namespace
}  // namespace lockstep
