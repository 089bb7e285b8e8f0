// Schemas as grammars: what is refused and how, what a bomb may cost, and answers to random schemas
// held against a validator that shares nothing with the compiler.
#include "serve/json_schema.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>

#include "serve/grammar_test_util.h"
#include "serve/schema_format.h"
#include "serve/schema_pattern.h"
#include "serve/schema_validator_test_util.h"

namespace lockstep::serve {
namespace {

using namespace test;

bool takes(const CharDfa& dfa, const std::string& text) {
  uint32_t state = 0;
  for (const wchar_t c : wide(text)) {
    const auto& edges = dfa.states[state].edges;
    const auto at = std::find_if(edges.begin(), edges.end(), [&](const CharDfa::Edge& edge) {
      return edge.first <= static_cast<uint32_t>(c) && static_cast<uint32_t>(c) <= edge.last;
    });
    if (at == edges.end()) return false;
    state = at->next;
  }
  return dfa.states[state].accepts;
}

class RandomSchemas {
 public:
  explicit RandomSchemas(uint64_t seed) : random_(seed) {}

  Json schema() {
    Json out = any(0);
    if (refers_) {
      out["$defs"]["tree"] = {
          {"type", "object"},
          {"properties",
           {{"v", any(2)},
            {"next", {{"anyOf", {{{"$ref", "#/$defs/tree"}}, {{"type", "null"}}}}}}}},
          {"required", {"v"}},
          {"additionalProperties", false}};
    }
    return out;
  }

  std::string pattern(int depth = 0) {
    std::string out;
    const size_t n = 1 + pick(3);
    for (size_t i = 0; i < n; ++i) out += piece(depth);
    if (depth < 2 && chance(4)) out += fmt::format("|{}", pattern(depth + 1));
    return out;
  }
  std::string text() {
    std::string out;
    for (size_t n = pick(8); n > 0; --n) out += one_of({"a", "b", "c", "1", "-", "é", " "});
    return out;
  }

 private:
  size_t pick(size_t n) { return random_() % n; }
  bool chance(size_t n) { return pick(n) == 0; }
  template <class T = std::string>
  T one_of(std::initializer_list<T> all) {
    return *(all.begin() + pick(all.size()));
  }

  std::string piece(int depth) {
    std::string out = one_of({"a", "b", "[ab]", "[^b]", ".", "\\d", "\\w", "é", "[a-c1]", "\\S"});
    if (depth < 2 && chance(4)) out = one_of({"(", "(?:"}) + pattern(depth + 1) + ")";
    if (chance(8)) return one_of({"^", "$"});
    if (chance(3)) out += one_of({"*", "+", "?", "{2}", "{1,3}", "{2,}", "*?", "+?"});
    return out;
  }

  Json any(int depth) {
    switch (pick(depth < 3 ? 10 : 6)) {
      case 0:
        return string();
      case 1:
      case 2:
        return number();
      case 3:
        return chance(2) ? Json{{"type", "boolean"}} : Json{{"type", "null"}};
      case 4:
        return {{"enum", {"red", 1, nullptr, {{"a", true}}, 2.5, "é\"\\"}}};
      case 5:
        return {{"const", one_of({"x", "é", "\n"})}};
      case 6:
        return array(depth);
      case 7:
        return {{"anyOf", {any(depth + 1), any(depth + 1)}}};
      case 8:
        if (depth > 0 && chance(3)) {
          refers_ = true;
          return {{"$ref", "#/$defs/tree"}};
        }
        [[fallthrough]];
      default:
        return object(depth);
    }
  }

  Json string() {
    Json out{{"type", "string"}};
    if (chance(3)) {
      out["pattern"] = pattern();
    } else if (chance(2)) {
      out["format"] =
          one_of({"date", "time", "date-time", "duration", "uuid", "email", "hostname", "ipv4",
                  "ipv6", "uri", "uri-reference", "json-pointer", "relative-json-pointer"});
      return out;
    }
    if (chance(3)) out["minLength"] = pick(6);
    if (chance(3)) out["maxLength"] = 3 + pick(12);
    return out;
  }

  Json bound() {
    const auto value = static_cast<int64_t>(random_() % 2000) - 1000;
    switch (pick(4)) {
      case 0:
        return value;
      case 1:
        return static_cast<double>(value) / 100;
      case 2:
        return value / 100;
      default:
        return value * 1'000'003;
    }
  }

  Json number() {
    Json out{{"type", one_of({"integer", "number"})}};
    if (chance(2)) out[one_of({"minimum", "exclusiveMinimum"})] = bound();
    if (chance(2)) out[one_of({"maximum", "exclusiveMaximum"})] = bound();
    if (chance(4)) out["multipleOf"] = 1 + pick(40);
    return out;
  }

  Json array(int depth) {
    Json out{{"type", "array"}};
    if (chance(2)) out["items"] = any(depth + 1);
    if (chance(3)) out["prefixItems"] = Json::array({any(depth + 1), any(depth + 1)});
    if (chance(2)) out["minItems"] = pick(3);
    out["maxItems"] = 2 + pick(3);
    return out;
  }

  Json object(int depth) {
    Json out{{"type", "object"}};
    size_t n = 0;
    for (const char* name : {"a", "ab", "b\"", "é"}) {
      if (chance(2)) continue;
      out["properties"][name] = any(depth + 1);
      ++n;
      if (chance(2)) out["required"].push_back(name);
    }
    if (chance(3)) out["additionalProperties"] = false;
    if (chance(4)) out["additionalProperties"] = any(depth + 1);
    if (chance(4)) out["minProperties"] = pick(n + 1);
    if (chance(4)) out["maxProperties"] = 1 + pick(n + 1);
    return out;
  }

  std::mt19937_64 random_;
  bool refers_ = false;
};

TEST(JsonSchema, EveryAnswerToARandomSchemaIsValid) {
  size_t n_schemas = 0, n_refused = 0, n_answers = 0;
  for (uint64_t seed = 0; seed < 400; ++seed) {
    const Json schema = RandomSchemas(seed).schema();
    auto made = grammar_of_schema(schema, "p");
    ++n_schemas;
    if (const auto* error = std::get_if<ApiError>(&made)) {
      ++n_refused;
      EXPECT_EQ(error->status, 400);
      EXPECT_EQ(error->param, "p");
      // What is random may well allow nothing; nothing else may be wrong with it.
      const std::string& why = error->message;
      EXPECT_TRUE(why.find("fits") != why.npos || why.find("within the bounds") != why.npos ||
                  why.find("minProperties") != why.npos || why.find("maxProperties") != why.npos)
          << schema << " " << why;
      continue;
    }
    const auto grammar = std::make_shared<const Grammar>(std::move(std::get<Grammar>(made)));
    const SchemaValidator validator(schema);
    for (uint64_t n = 0; n < 6; ++n) {
      const std::optional<std::string> text = draw(grammar, seed * 100 + n, 300);
      if (!text.has_value()) continue;
      ++n_answers;
      ASSERT_TRUE(Json::accept(*text)) << "seed " << seed << " " << schema << " " << *text;
      EXPECT_EQ(validator.check(Json::parse(*text)), "")
          << "seed " << seed << " " << schema << " " << *text;
    }
  }
  EXPECT_LT(n_refused, n_schemas / 5);
  EXPECT_GT(n_answers, 1'500u) << n_refused;
}

TEST(SchemaPattern, TakesWhatARegularExpressionFinds) {
  size_t n_found = 0, n_all = 0;
  for (uint64_t seed = 0; seed < 400; ++seed) {
    RandomSchemas random(seed);
    const std::string pattern = random.pattern();
    CompileBudget budget;
    CharDfa dfa = dfa_of_pattern(pattern, budget);
    for (int i = 0; i < 40; ++i) {
      const std::string text = random.text();
      const bool expected = found(pattern, text);
      n_found += expected;
      ++n_all;
      EXPECT_EQ(takes(dfa, text), expected) << pattern << " on \"" << text << "\"";
    }
  }
  EXPECT_GT(n_found, n_all / 5);
  EXPECT_LT(n_found, n_all * 4 / 5);
}

struct Taken {
  const char* schema;
  std::vector<const char*> valid, invalid;
};

TEST(JsonSchema, TakesWhatPatternsAndBoundsAllow) {
  const Taken cases[] = {
      {R"({"type":"string","pattern":"^[A-Z]{2}-\\d+$"})",
       {R"("AB-1")", R"("ZZ-0099")"},
       {R"("AB-")", R"("ABC-1")", R"("xAB-1")", R"("AB-1 ")", "\"AB-1\\n\""}},
      {R"({"pattern":"ab"})", {R"("ab")", R"("xxabé\n")"}, {R"("a b")", "1"}},
      {R"({"pattern":"^(a|b)*$","minLength":2,"maxLength":3})",
       {R"("ab")", R"("bba")"},
       {R"("a")", R"("abab")", R"("ac")"}},
      {R"({"pattern":"^\"\\\\\\n\\u0001é😀[^é]$"})",
       {"\"\\\"\\\\\\n\\u0001é😀x\"", "\"\\\"\\\\\\n\\u0001é😀è\""},
       {"\"\\\"\\\\\\n\\u0001é😀é\"", "\"\\\"\\\\\\n\\u0001é😀\""}},
      {R"({"type":"integer","minimum":-5,"maximum":120})",
       {"-5", "0", "7", "99", "120"},
       {"-6", "121", "-50", "1000", "00", "1.0", "-0", "1e1"}},
      {R"({"type":"integer","exclusiveMinimum":9,"exclusiveMaximum":12})",
       {"10", "11"},
       {"9", "12", "1", "100"}},
      {R"({"type":"integer","multipleOf":15,"minimum":1})",
       {"15", "30", "150", "1005"},
       {"0", "10", "-15", "16"}},
      {R"({"type":"number","minimum":0,"exclusiveMaximum":1})",
       {"0", "0.0", "0.25", "0.999", "-0.0"},
       {"1", "1.0", "-0.1", "-1", "2", "0.", "10"}},
      {R"({"type":"number","minimum":-2.5,"maximum":12.75})",
       {"-2.5", "-2.50", "-2.49", "12.75", "12.749", "3", "-1"},
       {"-2.51", "-3", "12.76", "12.751", "13", "100", "-25"}},
      {R"({"type":"number","minimum":1e-3,"maximum":2e3})",
       {"0.001", "0.0011", "2000", "2000.000"},
       {"0.0009", "0", "2000.1", "20000"}},
      {R"({"type":"integer","format":"int32"})", {"2147483647", "-2147483648"}, {"2147483648"}},
      {R"({"format":"date"})",
       {R"("2024-02-29")", R"("1999-12-31")", R"("2000-02-29")"},
       {R"("2023-02-29")", R"("1900-02-29")", R"("2024-04-31")", R"("0000-01-01")",
        R"("2024-13-01")", R"("2024-1-1")"}},
      {R"({"format":"date-time"})",
       {R"("2024-02-29T23:59:59Z")", R"("2024-01-01T00:00:00.123+05:30")"},
       {R"("2024-01-01T24:00:00Z")", R"("2024-01-01 00:00:00Z")", R"("2024-01-01T00:00:00")"}},
      {R"({"format":"ipv6"})",
       {R"("::")", R"("::1")", R"("1:2:3:4:5:6:7:8")", R"("fe80::1:2")", R"("1::")",
        R"("1:2:3:4:5:6:7::")"},
       {R"("1:2:3:4:5:6:7")", R"("1::2::3")", R"("12345::")", R"(":1")"}},
      {R"({"format":"email"})",
       {R"("a.b+c@example.com")"},
       {R"("a@b")", R"("@b.com")", R"("a..b@c.com")", R"("a@-b.com")"}},
      {R"({"type":"object","properties":{"a":{"const":1},"b":{"const":2},"c":{"const":3}},
          "required":["b"],"minProperties":2,"maxProperties":2,"additionalProperties":false})",
       {R"({"a":1,"b":2})", R"({"b":2,"c":3})"},
       {R"({"b":2})", R"({"a":1,"b":2,"c":3})", R"({"a":1,"c":3})"}},
      {R"({"type":"object","minProperties":1,"maxProperties":2})",
       {R"({"x":1})", R"({"x":1,"y":2})"},
       {"{}", R"({"x":1,"y":2,"z":3})"}},
  };
  for (const Taken& one : cases) {
    const Grammar grammar = grammar_of(Json::parse(one.schema));
    for (const char* text : one.valid) {
      EXPECT_TRUE(accepts(grammar, text)) << one.schema << " " << text;
    }
    for (const char* text : one.invalid) {
      EXPECT_FALSE(accepts(grammar, text)) << one.schema << " " << text;
    }
  }
}

TEST(JsonSchema, RefusesByName) {
  const std::pair<const char*, const char*> cases[] = {
      {R"x({"type":"string","pattern":"a(?=b)"})x", "#/pattern: at byte 4: a look ahead"},
      {R"({"type":"string","pattern":"(?<!b)a"})", "look behind"},
      {R"({"type":"string","pattern":"(a)\\1"})", "reference back"},
      {R"({"type":"string","pattern":"\\bword"})", "word's border"},
      {R"({"type":"string","pattern":"\\p{L}"})", "class of Unicode"},
      {R"({"type":"string","pattern":"(a"})", "not closed"},
      {R"x({"type":"string","pattern":"a)"})x", "no group to close"},
      {R"({"type":"string","pattern":"[z-a]"})", "out of order"},
      {R"({"type":"string","pattern":"*a"})", "to be repeated"},
      {R"({"type":"string","pattern":"a{3,2}"})", "out of order"},
      {R"({"type":"string","pattern":"\\ud800"})", "surrogate"},
      {R"({"type":"string","pattern":3})", "#/pattern: expected a string"},
      {R"({"type":"string","pattern":"^a$","minLength":2})", "no text fits"},
      {R"({"properties":{"a":{"type":"string","format":"iri"}}})",
       "#/properties/a/format: \"iri\" is not known; known are date"},
      {R"({"type":"object","properties":{"a":{"type":"integer","minimum":"3"}}})",
       "#/properties/a/minimum: expected a number"},
      {R"({"type":"integer","exclusiveMinimum":3,"exclusiveMaximum":4})", "within the bounds"},
      {R"({"type":"number","multipleOf":0.01})", "#/multipleOf: only whole numbers"},
      {R"({"type":"number","multipleOf":0})", "#/multipleOf: expected more than 0"},
      {R"({"type":"integer","multipleOf":1000000007})", "too large"},
      {R"({"type":"object","patternProperties":{"^a":{}}})", "\"patternProperties\""},
      {R"({"type":"object","minProperties":3})", "#/minProperties"},
      {R"({"type":"object","maxProperties":0,"required":["a"]})", "#/maxProperties"},
      {R"({"type":"array","uniqueItems":true})", "\"uniqueItems\""},
      {R"({"not":{}})", "\"not\""},
      {R"({"allOf":[{},{}]})", "\"allOf\""},
      {R"({"oneOf":[{"type":"string"},{"type":"string"}]})", "anyOf"},
      {R"({"type":"text"})", "#/type"},
      {R"({"$ref":"http://x"})", "#/..."},
      {R"({"$ref":"#/$defs/x"})", "there is no"},
      {R"({"$ref":"#"})", "leads to itself"},
      {R"({"anyOf":[]})", "at least one"},
      {R"({"type":"array","minItems":3,"maxItems":2})", "nothing fits"},
      {R"({"type":"object","required":["a"],"properties":{"b":{}},"additionalProperties":false})",
       "\"a\""},
      {"false", "nothing"},
      {"3", "expected a schema"},
  };
  for (const auto& [schema, part] : cases) {
    const std::string refusal = refusal_of(Json::parse(schema));
    EXPECT_NE(refusal.find(part), std::string::npos) << schema << " " << refusal;
  }
}

TEST(JsonSchema, EveryFormatHasATextOfItsOwn) {
  for (const char* name :
       {"date", "time", "date-time", "duration", "uuid", "email", "hostname", "ipv4", "ipv6", "uri",
        "uri-reference", "json-pointer", "relative-json-pointer"}) {
    EXPECT_NE(known_formats().find(name), std::string::npos) << name;
    const Json schema{{"format", name}};
    const auto grammar = std::make_shared<const Grammar>(grammar_of(schema));
    size_t n = 0;
    for (uint64_t seed = 0; seed < 30; ++seed) {
      const auto text = draw(grammar, seed, 400);
      if (!text.has_value()) continue;
      ++n;
      EXPECT_EQ(SchemaValidator(schema).check(Json::parse(*text)), "") << name << " " << *text;
    }
    EXPECT_GT(n, 10u) << name;
  }
}

// Whatever a client asks for is compiled, or refused, in about the time that an answer takes.
void expect_cheap(const Json& schema, const std::string& what) {
  const auto start = std::chrono::steady_clock::now();
  const std::string refusal = refusal_of(schema);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  EXPECT_LT(took.count(), 5.0) << what << ": " << refusal;
  if (!refusal.empty()) {
    EXPECT_EQ(refusal.rfind("p: ", 0), 0u) << what << ": " << refusal;
  }
}

TEST(JsonSchema, BombsOfPatternsAreBounded) {
  const auto nested = [](std::string inner, int n) {
    for (int i = 0; i < n; ++i) inner = fmt::format("({}*)*", inner);
    return inner;
  };
  std::string alternatives = "a";
  for (int i = 0; i < 20'000; ++i) alternatives += fmt::format("|{}", i);
  const std::pair<std::string, const char*> bombs[] = {
      {"(a{1000}){1000}", "too large"},
      {"^(((a{100}){100}){100}){100}$", "too large"},
      {"((){99999}){99999}", "too long"},
      {"a{4294967296}", "repetitions"},
      {"(a|b)*a(a|b){40}", "too"},
      {"^(.|\\s)*x.{30}y", "too"},
      {std::string(100'000, '('), "inside each other"},
      {nested("a", 60), ""},
      {nested("a", 70), "inside each other"},
      {"^(" + alternatives + ")$", ""},
      {std::string(200'000, 'a'), ""},
  };
  for (const auto& [pattern, why] : bombs) {
    const Json schema{{"type", "string"}, {"pattern", pattern}};
    expect_cheap(schema, pattern.substr(0, 40));
    EXPECT_NE(refusal_of(schema).find(why), std::string::npos) << pattern.substr(0, 40);
  }
  EXPECT_NE(refusal_of({{"pattern", "^(a|b)*$"}, {"minLength", 0}, {"maxLength", 1'000'000}})
                .find("too large"),
            std::string::npos);
}

TEST(JsonSchema, BombsOfManyPartsAreBounded) {
  // Each is small alone.
  Json many{{"type", "object"}};
  for (int i = 0; i < 3'000; ++i) {
    many["properties"][fmt::format("p{}", i)] = {{"type", "integer"}, {"multipleOf", 100 + i}};
  }
  expect_cheap(many, "many multiples");
  EXPECT_NE(refusal_of(many).find("too large"), std::string::npos);

  Json patterns{{"type", "object"}};
  for (int i = 0; i < 3'000; ++i) {
    patterns["properties"][fmt::format("p{}", i)] = {{"pattern", fmt::format("a{{{}}}", i)}};
  }
  expect_cheap(patterns, "many patterns");
  EXPECT_NE(refusal_of(patterns).find("too l"), std::string::npos);

  Json loop{{"$ref", "#/$defs/a"}};
  for (int i = 0; i < 5'000; ++i) {
    loop["$defs"][fmt::format("a{}", i)] = {{"$ref", fmt::format("#/$defs/a{}", i + 1)}};
  }
  loop["$defs"]["a"] = {{"$ref", "#/$defs/a0"}};
  expect_cheap(loop, "a chain of references");
  EXPECT_NE(refusal_of(loop).find("levels"), std::string::npos);
}

TEST(JsonSchema, BombsAreRefusedOrSmall) {
  // 2^25 ways through one list.
  Json bomb = {{"$ref", "#/$defs/a0"}};
  for (int i = 0; i < 25; ++i) {
    const Json next = {{"$ref", fmt::format("#/$defs/a{}", i + 1)}};
    bomb["$defs"][fmt::format("a{}", i)]["anyOf"] = Json::array({next, next});
  }
  bomb["$defs"]["a25"]["type"] = "null";
  EXPECT_TRUE(accepts(grammar_of(bomb), "null"));

  Json wide;
  for (int i = 0; i < 30'000; ++i) wide["enum"].push_back(i);
  EXPECT_NE(refusal_of(wide).find("too large"), std::string::npos);

  Json deep = {{"type", "null"}};
  for (int i = 0; i < 100; ++i) deep = {{"type", "array"}, {"items", deep}};
  EXPECT_NE(refusal_of(deep).find("levels"), std::string::npos);
}

}  // namespace
}  // namespace lockstep::serve
