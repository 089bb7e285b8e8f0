// Patterns, message text and the progress line.
#include "base/text.h"

#include <gtest/gtest.h>

#include <string>

#include "base/glob.h"
#include "base/log.h"
#include "base/progress.h"

namespace lockstep {
namespace {

TEST(Glob, MatchesTheWholeText) {
  const struct {
    const char* pattern;
    const char* text;
    bool matches;
  } cases[] = {
      {"", "", true},
      {"", "a", false},
      {"*", "", true},
      {"**", "abc", true},
      {"a", "a", true},
      {"a", "ab", false},
      {"a", "ba", false},
      {"?", "", false},
      {"?", "a", true},
      {"a?c", "abc", true},
      {"a?c", "ac", false},
      {"*.q_proj", "model.layers.3.self_attn.q_proj", true},
      {"model.layers.*.mlp", "model.layers.11.mlp", true},
      {"model.layers.*.mlp", "model.layers.11.mlp.up_proj", false},
      {"model.layers.?.mlp", "model.layers.11.mlp", false},
      {"*a*b*c*", "xxaxxbxxcxx", true},
      {"*a*b*c*", "xxaxxcxxbxx", false},
      {"*ab", "aab", true},
      {"a*a", "a", false},
      {"[ab]", "[ab]", true},
      {"[ab]", "a", false},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(glob_match(c.pattern, c.text), c.matches) << c.pattern << " on " << c.text;
  }
}

TEST(Glob, HostilePatternsEndSoon) {
  std::string pattern;
  for (int i = 0; i < 200; ++i) pattern += "*a";
  EXPECT_FALSE(glob_match(pattern + "b", std::string(20'000, 'a')));
}

TEST(QuoteText, MakesUntrustedTextPrintable) {
  EXPECT_EQ(quote_text("model.norm"), "\"model.norm\"");
  EXPECT_EQ(quote_text(""), "\"\"");
  EXPECT_EQ(quote_text("a\"b\\c"), "\"a\\\"b\\\\c\"");
  EXPECT_EQ(quote_text(std::string_view("\x1b[31m\0\n", 7)), "\"\\x1b[31m\\x00\\x0a\"");
  EXPECT_EQ(quote_text("h\xc3\xa9"), "\"h\xc3\xa9\"");
}

TEST(QuoteText, CutsLongTextBetweenCharacters) {
  EXPECT_EQ(quote_text(std::string(120, 'a')).size(), 122u);
  EXPECT_EQ(quote_text(std::string(121, 'a')), "\"" + std::string(120, 'a') + "...\"");
  const std::string text = std::string(119, 'a') + "\xe2\x82\xac" + "tail";
  EXPECT_EQ(quote_text(text), "\"" + std::string(119, 'a') + "...\"");
}

TEST(Counted, KnowsOneFromMany) {
  EXPECT_EQ(counted(0, "tensor"), "0 tensors");
  EXPECT_EQ(counted(1, "tensor"), "1 tensor");
  EXPECT_EQ(counted(2, "tensor"), "2 tensors");
}

TEST(Progress, ShowsShareWhenTheTotalIsKnown) {
  EXPECT_EQ(progress_text("loading weights", 12, 40), "loading weights 12/40 (30%)");
  EXPECT_EQ(progress_text("reading", 7, 0), "reading 7");
}

TEST(Progress, StaysSilentWithoutATerminal) {
  ::testing::internal::CaptureStderr();
  {
    Progress progress("quiet", 2);
    progress.update(1);
  }
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
}

TEST(Log, WritesLevelAndMessageFromTheLevelOn) {
  ::testing::internal::CaptureStderr();
  set_log_level(LogLevel::kWarn);
  log_info("hidden");
  log_warn("shown {} as it is");
  log_error("worse");
  set_log_level(LogLevel::kOff);
  log_error("hidden too");
  set_log_level(LogLevel::kInfo);
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "warning: shown {} as it is\nerror: worse\n");
}

}  // namespace
}  // namespace lockstep
