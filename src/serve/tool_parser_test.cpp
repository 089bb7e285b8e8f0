#include "serve/tool_parser.h"

#include <gtest/gtest.h>

namespace lockstep::serve {
namespace {

// All of `text`, `step` bytes at a time.
ToolParser::Delta parse(ToolStyle style, std::string_view text, size_t step) {
  ToolParser parser(style, "f");
  ToolParser::Delta all;
  const auto add = [&](ToolParser::Delta part) {
    all.text += part.text;
    for (ToolCall& call : part.calls) all.calls.push_back(std::move(call));
  };
  for (size_t i = 0; i < text.size(); i += step) add(parser.push(text.substr(i, step)));
  add(parser.finish());
  return all;
}

TEST(ToolParser, TakesTaggedCallsOutOfTheText) {
  const std::string_view text =
      "Let me see.\n<tool_call>\n{\"name\": \"get\", \"arguments\": {\"q\": [1, \"é\"]}}\n"
      "</tool_call>\n<tool_call>{\"name\":\"put\",\"arguments\":{}}</tool_call>\n";
  for (const size_t step : {1u, 2u, 7u, 1000u}) {
    const ToolParser::Delta all = parse(ToolStyle::kTagged, text, step);
    EXPECT_EQ(all.text, "Let me see.") << step;
    ASSERT_EQ(all.calls.size(), 2u) << step;
    EXPECT_EQ(all.calls[0].name, "get");
    EXPECT_EQ(all.calls[0].arguments, "{\"q\":[1,\"é\"]}");
    EXPECT_EQ(all.calls[1].name, "put");
    EXPECT_NE(all.calls[0].id, all.calls[1].id);
  }
}

TEST(ToolParser, LosesNothingThatIsNoCall) {
  for (const std::string_view text :
       {"a <tool", "<tool_call>{\"name\": 3}</tool_call>x", "a <tool_call>{\"name\": \"f\"",
        "1 < 2\n\n", "<tool_call></tool_call>"}) {
    for (const size_t step : {1u, 3u, 1000u}) {
      const ToolParser::Delta all = parse(ToolStyle::kTagged, text, step);
      EXPECT_EQ(all.text, text) << step;
      EXPECT_TRUE(all.calls.empty());
    }
  }
}

TEST(ToolParser, TakesABareCall) {
  const auto all = parse(ToolStyle::kBare, R"({"name": "get", "parameters": {"q": 1}})", 3);
  ASSERT_EQ(all.calls.size(), 1u);
  EXPECT_EQ(all.calls[0].arguments, R"({"q":1})");
  EXPECT_EQ(all.text, "");
  EXPECT_EQ(parse(ToolStyle::kBare, "Hello {", 2).text, "Hello {");
  EXPECT_EQ(parse(ToolStyle::kBare, R"({"a": 1})", 2).text, R"({"a": 1})");
}

TEST(ToolParser, GivesArgumentsToTheFunctionThatWasAskedFor) {
  const auto all = parse(ToolStyle::kArguments, R"({"q": 1})", 2);
  ASSERT_EQ(all.calls.size(), 1u);
  EXPECT_EQ(all.calls[0].name, "f");
  EXPECT_EQ(all.calls[0].arguments, R"({"q": 1})");
}

}  // namespace
}  // namespace lockstep::serve
