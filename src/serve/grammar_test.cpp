// Answers drawn at random inside a grammar: every one must be what the grammar says.
#include "serve/grammar.h"

#include <gtest/gtest.h>

#include "serve/grammar_test_util.h"

namespace lockstep::serve {
namespace {

using namespace test;

struct Case {
  const char* schema;
  const char* valid[3];
  const char* invalid[6];
};

const Case kCases[] = {
    {R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"string"}},
        "required":["a"]})",
     {R"({"a":1})", R"({"a": -20, "b": "x\"\u00e9"})", R"({"a":0,"b":""})"},
     {R"({})", R"({"b":"x"})", R"({"a":1.5})", R"({"a":01})", R"({"a":1,})", R"({"a":1,"c":2})"}},
    {R"({"type":"array","items":{"type":"number"},"minItems":1,"maxItems":3})",
     {"[1]", "[1.5, -2e10, 0]", "[0.25,3]"},
     {"[]", "[1,2,3,4]", "[.5]", "[1.]", "[1,]", "[+1]"}},
    {R"({"type":"string","minLength":2,"maxLength":3})",
     {R"("ab")", R"("é中a")", R"("\n\\")"},
     {R"("a")", R"("abcd")", "\"a\nb\"", "\"\xff\xff\"", R"("\ud800a")", R"("\x41")"}},
    {R"({"enum":["red",1,null,{"a":[true]}]})",
     {R"("red")", "null", R"({"a":[true]})"},
     {R"("re")", "2", R"({"a":[false]})", "nul", R"("redd")", ""}},
    {R"({"anyOf":[{"type":"boolean"},{"type":"object","properties":{"k":{"const":"v"}},
        "required":["k"],"additionalProperties":false}]})",
     {"true", "false", R"({"k":"v"})"},
     {"null", R"({"k":"w"})", R"({})", "tru", "truefalse", R"({"k":"v","l":1})"}},
    {R"({"type":"object","properties":{"ab":{"type":"integer"}},"additionalProperties":
        {"type":"boolean"}})",
     {R"({"ab":1,"abc":true})", R"({"a":false})", R"({"b":true, "ab2":true})"},
     {R"({"ab":true})", R"({"abc":1})", R"({"x":1})", R"({"x":true,"ab":true})", R"({"x":true,})",
      R"({"\u0061b":true})"}},
    {R"({"$ref":"#/$defs/node","$defs":{"node":{"type":"object","properties":{"v":
        {"type":"integer"},"next":{"anyOf":[{"$ref":"#/$defs/node"},{"type":"null"}]}},
        "required":["v","next"],"additionalProperties":false}}})",
     {R"({"v":1,"next":null})", R"({"v":1,"next":{"v":2,"next":null}})", nullptr},
     {R"({"v":1})", R"({"v":1,"next":3})", R"({"next":null,"v":1})", nullptr, nullptr, nullptr}},
    {R"({"type":"array","prefixItems":[{"type":"string"},{"type":"null"}],"items":false})",
     {R"(["a",null])", "[]", R"(["a"])"},
     {"[null]", R"(["a",null,1])", R"(["a","b"])", nullptr, nullptr, nullptr}},
    {R"({"type":["string","null"]})",
     {R"("a")", "null", nullptr},
     {"1", "true", nullptr, nullptr, nullptr, nullptr}},
    {R"({})",
     {R"({"a":[1,{"b":null}]})", "3.5", R"("x")"},
     {"{a:1}", "[1 2]", "{\"a\":1", "'x'", nullptr, nullptr}},
};

TEST(Grammar, TakesWhatTheSchemaAllowsAndNothingElse) {
  for (const Case& one : kCases) {
    const Grammar grammar = grammar_of(Json::parse(one.schema));
    for (const char* text : one.valid) {
      if (text == nullptr) continue;
      EXPECT_TRUE(accepts(grammar, text)) << one.schema << " " << text;
    }
    for (const char* text : one.invalid) {
      if (text == nullptr) continue;
      EXPECT_FALSE(accepts(grammar, text)) << one.schema << " " << text;
    }
  }
}

TEST(Grammar, RandomAnswersParseAndAreAccepted) {
  for (const Case& one : kCases) {
    const auto grammar = std::make_shared<const Grammar>(grammar_of(Json::parse(one.schema)));
    size_t n_ended = 0;
    for (uint64_t seed = 0; seed < 100; ++seed) {
      const std::optional<std::string> text = draw(grammar, seed, 400);
      if (!text.has_value()) continue;
      ++n_ended;
      EXPECT_TRUE(Json::accept(*text)) << one.schema << " " << *text;
      EXPECT_TRUE(accepts(*grammar, *text)) << one.schema << " " << *text;
    }
    EXPECT_GE(n_ended, 50u) << one.schema;
  }
}

// The shortcut inside strings must allow what byte by byte is allowed.
TEST(GrammarMask, AllowsWhatFitsByteByByte) {
  for (const char* schema :
       {R"({"type":"string"})", R"({"type":"array","items":{"type":"string"}})",
        R"({"type":"string","minLength":3,"maxLength":6})"}) {
    const auto grammar = std::make_shared<const Grammar>(grammar_of(Json::parse(schema)));
    for (const std::string_view begun : {"\"", "\"ab", "[\"", "[\"abc\",\"", "\"\xc3"}) {
      StackSet stacks(*grammar);
      const auto run = [&](std::vector<StackId> from, std::string_view bytes) {
        std::vector<StackId> to;
        for (const char byte : bytes) {
          to.clear();
          for (const StackId s : from) stacks.advance(s, static_cast<unsigned char>(byte), to);
          from.swap(to);
        }
        return from;
      };
      const std::vector<StackId> at = run({stacks.start()}, begun);
      if (at.empty()) continue;
      std::vector<int32_t> output;
      for (const char byte : begun) {
        for (int32_t id = 0; id < static_cast<int32_t>(tokenizer().id_limit()); ++id) {
          if (token_bytes().bytes(id) == std::string_view(&byte, 1)) {
            output.push_back(id);
            break;
          }
        }
      }
      ASSERT_EQ(output.size(), begun.size());
      GrammarMask mask(grammar, trie());
      std::vector<uint32_t> allowed(trie().n_words());
      ASSERT_TRUE(mask.allow(output, allowed));
      for (int32_t id = 0; id < static_cast<int32_t>(tokenizer().id_limit()); ++id) {
        const std::string_view bytes = token_bytes().bytes(id);
        if (bytes.empty()) continue;
        EXPECT_EQ((allowed[static_cast<size_t>(id) / 32] >> (id % 32) & 1) != 0,
                  !run(at, bytes).empty())
            << schema << " " << begun << " token " << id;
      }
    }
  }
}

}  // namespace
}  // namespace lockstep::serve
