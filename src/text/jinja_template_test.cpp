// Templates against what jinja2 made of them, recorded by tests/text/record_*.py.
#include "text/jinja_template.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "base/file.h"
#include "lockstep/error.h"

namespace lockstep::jinja {
namespace {

using Json = nlohmann::ordered_json;
const std::filesystem::path kFixtures = LOCKSTEP_SOURCE_DIR "/tests/fixtures";

/// The clock of the recording scripts: Sunday, 9 March 2025, 14:05:07.
RenderOptions recorded_options() {
  std::tm now{};
  now.tm_year = 125;
  now.tm_mon = 2;
  now.tm_mday = 9;
  now.tm_hour = 14;
  now.tm_min = 5;
  now.tm_sec = 7;
  now.tm_wday = 0;
  now.tm_yday = 67;
  return {.limits = {}, .now = now};
}

std::string render(const std::string& source, const Json& variables = Json::object(),
                   const Limits& limits = {}) {
  RenderOptions options = recorded_options();
  options.limits = limits;
  return Template::parse(source, "test").render(variables, options).text;
}

/// The message of the error that rendering ends with; empty when it does not.
std::string error_of(const std::string& source, const Json& variables = Json::object(),
                     ErrorCode code = ErrorCode::kInvalidArgument, const Limits& limits = {}) {
  try {
    const std::string text = render(source, variables, limits);
    ADD_FAILURE() << source << " gives " << text;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.message();
    return error.message();
  }
  return {};
}

/// Whether our message tells the error that Python raised. Jinja's own words, raise_exception's,
/// stand alone; what only Python's compiler finds is a syntax error here.
bool tells(const std::string& message, const std::string& python_class) {
  if (python_class == "TemplateError") return true;
  if (python_class == "TemplateAssertionError" || python_class == "SyntaxError") {
    return message.find("TemplateSyntaxError: ") != message.npos;
  }
  return message.find(python_class + ": ") != message.npos;
}

TEST(JinjaTemplate, RandomExpressionsAndStatements) {
  const Json recorded = Json::parse(read_text_file(kFixtures / "jinja/random.json"));
  size_t n = 0;
  for (const Json& row : recorded["cases"]) {
    const auto source = row[0].get<std::string>();
    SCOPED_TRACE(source);
    ++n;
    try {
      const std::string text = render(source, recorded["variables"]);
      ASSERT_EQ(row.size(), 2u) << "jinja2 raises " << row[2] << ", this gives " << text;
      EXPECT_EQ(text, row[1].get<std::string>());
    } catch (const Error& error) {
      ASSERT_EQ(row.size(), 3u) << "jinja2 gives " << row[1] << ", this says " << error.message();
      EXPECT_TRUE(tells(error.message(), row[2].get<std::string>()))
          << error.message() << ", not " << row[2];
    }
  }
  EXPECT_GE(n, 3000u);
}

TEST(JinjaTemplate, TemplatesOfTheFamilies) {
  const Json recorded = Json::parse(read_text_file(kFixtures / "chat_templates/expected.json"));
  size_t n_templates = 0, n_texts = 0;
  for (const auto& [name, outcomes] : recorded["expected"].items()) {
    ++n_templates;
    const Template parsed = Template::parse(
        read_text_file(kFixtures / "chat_templates" / (name + ".jinja")), name + ".jinja");
    for (const auto& [set, outcome] : outcomes.items()) {
      SCOPED_TRACE(name + ", " + set);
      Json variables = recorded["tokens"];
      variables["tools"] = nullptr;
      variables["documents"] = nullptr;
      for (const auto& [key, value] : recorded["sets"][set].items()) variables[key] = value;
      try {
        const std::string text = parsed.render(variables, recorded_options()).text;
        ASSERT_TRUE(outcome.contains("text")) << "jinja2 raises " << outcome["error"];
        EXPECT_EQ(text, outcome["text"].get<std::string>());
        ++n_texts;
      } catch (const Error& error) {
        ASSERT_TRUE(outcome.contains("error")) << error.message();
        EXPECT_TRUE(tells(error.message(), outcome["error"].get<std::string>()))
            << error.message() << ", not " << outcome["error"];
      }
    }
  }
  EXPECT_GE(n_templates, 25u);
  EXPECT_GE(n_texts, 300u);
}

TEST(JinjaTemplate, ErrorsNameLineAndCause) {
  EXPECT_EQ(error_of("a\nb\n{{ missing.attr }}"),
            "test: line 3: UndefinedError: 'missing' is undefined");
  EXPECT_EQ(error_of("{% if x %}\n\n{{ raise_exception('no such role') }}{% endif %}", {{"x", 1}}),
            "test: line 3: no such role");
  EXPECT_EQ(error_of("\n{% for a in b %}"),
            "test: line 2: TemplateSyntaxError: Unexpected end of template. Jinja was looking for "
            "the following tags: 'endfor' or 'else'. The innermost block that needs to be closed "
            "is 'for' of line 2.");
  EXPECT_EQ(error_of("{{ m.content.upper() }}", {{"m", Json::object()}}),
            "test: line 1: UndefinedError: 'dict object' has no attribute 'content'");
  EXPECT_EQ(error_of("x\n{{ 1 | nofilter }}"),
            "test: line 2: TemplateSyntaxError: No filter named 'nofilter'.");
  EXPECT_EQ(
      error_of("{{ [].append(1) }}"),
      "test: line 1: SecurityError: access to attribute 'append' of 'list' object is unsafe.");
  EXPECT_EQ(error_of("{% macro m(a) %}\n{{ a + 1 }}{% endmacro %}\n\n{{ m('x') }}"),
            "test: line 2: TypeError: can only concatenate str (not \"int\") to str");
  EXPECT_EQ(error_of("{{ '\xff' }}"), "test: the template is not UTF-8");
  EXPECT_EQ(error_of("{% autoescape true %}x{% endautoescape %}"),
            "test: line 1: TemplateSyntaxError: autoescape is not supported: a chat template "
            "writes text, not HTML");
}

TEST(JinjaTemplate, HostileTemplatesEnd) {
  const char* const kHostile[] = {
      "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
      "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
      "{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}",
      "{{ 'a' * 99999999999 }}",
      "{{ [0] * 99999999999 }}",
      "{{ 'abc'.ljust(99999999999) }}{{ 'abc' | center(99999999999) }}",
      "{{ '%99999999d' % 1 }}",
      "{{ '{:99999999999}'.format(1) }}",
      "{{ '%.99999999f' % 1.5 }}",
      "{% set ns = namespace(s='aaaaaaaaaaaaaaaa') %}"
      "{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
      "{% set ns = namespace(s='ab') %}"
      "{% for i in range(99) %}{% set ns.s = ns.s.replace('a', ns.s) %}{% endfor %}",
      "{% set ns = namespace(x=[]) %}{% for i in range(99999) %}{% set ns.x = [ns.x] %}{% endfor "
      "%}",
      "{% set ns = namespace(x=[1]) %}{% for i in range(9999) %}{% set ns.x = ns.x + ns.x %}{% "
      "endfor %}",
      "{% set ns = namespace(g=[1]) %}"
      "{% for i in range(99999) %}{% set ns.g = ns.g | map('string') %}{% endfor %}{{ ns.g | list "
      "}}",
      "{{ 10 ** 99 }}",
      "{% set x = 'a' * 60000000 %}{% set y = 'a' * 59999999 ~ 'a' %}"
      "{% for i in range(99999) %}{{ x == y }}{% endfor %}",
      "{% set x = 'a' * 60000000 %}"
      "{% for i in range(99999) %}{{ 'a' * 3000000 ~ 'b' in x }}{% endfor %}",
      "{{ ('a' * 9999999) | list | join('a' * 9999999) }}",
      "{{ [1, 2] | batch(99999999999, 'x') | list }}",
      "{{ 'a' | indent(99999999999, true) }}",
      "{% set x = 'a' * 60000000 %}{% for i in range(99) %}{{ x }}{% endfor %}",
      "{% set ns = namespace(l=[]) %}"
      "{% for i in range(99) %}{% set ns.l = ns.l + ['a' * 60000000] %}{% endfor %}",
  };
  for (const char* source : kHostile) {
    SCOPED_TRACE(source);
    // Fewer steps than by default, for the sake of the sanitizers.
    const Limits limits{.steps = 3'000'000};
    EXPECT_FALSE(error_of(source, Json::object(), ErrorCode::kResourceExhausted, limits).empty());
  }
}

TEST(JinjaTemplate, HostileSyntaxEnds) {
  const auto repeated = [](const char* text, int n) {
    std::string out;
    for (int i = 0; i < n; ++i) out += text;
    return out;
  };
  for (const std::string& source :
       {"{{ " + repeated("(", 100000), "{{ " + repeated("[", 100000),
        "{{ " + repeated("-", 100000) + "1 }}", "{{ " + repeated("{'a':", 100000),
        "{{ a" + repeated("|upper", 100000) + " }}", "{{ a" + repeated(".b", 100000) + " }}",
        "{{ " + repeated("not ", 100000) + "1 }}", "{{ 1" + repeated("+1", 100000) + " }}",
        repeated("{% if a %}", 100000), "{{ a" + repeated(" if a else a", 100000) + " }}",
        repeated("{% for a in b %}", 100000),
        "{% if a %}" + repeated("{% elif a %}", 100000) + "{% endif %}"}) {
    EXPECT_FALSE(error_of(source).empty()) << source.substr(0, 20);
  }
}

TEST(JinjaTemplate, ChainsAndCyclesAreTakenApart) {
  // Chains of namespaces, scopes and loops of any length, and cycles: nothing leaks, no stack
  // overflows when they go.
  EXPECT_EQ(render("{% set ns = namespace(cur=namespace()) %}"
                   "{% for i in range(50000) %}{% set cur = ns.cur %}{% set next = namespace() %}"
                   "{% set cur.p = next %}{% set ns.cur = next %}{% endfor %}ok"),
            "ok");
  EXPECT_EQ(render("{% set ns = namespace() %}{% set ns.self = ns %}{{ ns }}"),
            "<Namespace {'self': <Namespace {...}>}>");
  EXPECT_EQ(render("{% set ns = namespace(l=0) %}{% macro m(p) %}{% for i in [1] recursive %}"
                   "{% set ns.l = loop %}{% endfor %}{% endmacro %}"
                   "{% for i in range(300) %}{{ m(ns.l) }}{% endfor %}ok"),
            "ok");
  EXPECT_EQ(render("{% for i in [1, 2] %}{{ loop.changed(loop) }}{% endfor %}"), "TrueFalse");
}

TEST(JinjaTemplate, OneTemplateInManyRenderings) {
  const Template parsed = Template::parse("{{ x }}{% set x = 2 %}{{ x }}", "test");
  EXPECT_EQ(parsed.render({{"x", 1}}).text, "12");
  EXPECT_EQ(parsed.render({{"x", "a"}}).text, "a2");
}

TEST(JinjaTemplate, GenerationSpans) {
  const Rendering rendering = Template::parse(
                                  "é{% generation %}one{% endgeneration %}, {% for x in [1, 2] %}"
                                  "{% generation %}{{ x }}!{% endgeneration %}{% endfor %}.",
                                  "test")
                                  .render(Json::object());
  EXPECT_EQ(rendering.text, "éone, 1!2!.");
  ASSERT_EQ(rendering.generations.size(), 3u);
  EXPECT_EQ(rendering.text.substr(rendering.generations[0].begin, 3), "one");
  EXPECT_EQ(rendering.generations[2].end, rendering.text.size() - 1);
}

TEST(JinjaTemplate, LargeIntegersAndOrder) {
  const Json json = Json::parse(R"({"v": {"z": 18446744073709551615, "a": -9223372036854775808}})");
  EXPECT_EQ(render("{{ v }} {{ v.z + 1 }} {{ v | tojson }}", json),
            "{'z': 18446744073709551615, 'a': -9223372036854775808} 18446744073709551616 "
            "{\"z\": 18446744073709551615, \"a\": -9223372036854775808}");
}

}  // namespace
}  // namespace lockstep::jinja
