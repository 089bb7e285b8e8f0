#include "base/child_process.h"

#include <gtest/gtest.h>

#include <csignal>

#include "lockstep/error.h"

namespace lockstep {
namespace {

std::vector<std::string> lines_of(const std::string& script, ChildResult& result) {
  std::vector<std::string> lines;
  result = run_child({"/bin/sh", "-c", script}, ChildOutput::kLines,
                     [&](std::string_view line) { lines.emplace_back(line); });
  return lines;
}

TEST(ChildProcessTest, LinesArriveWholeAndTheLastNeedsNoEnd) {
  ChildResult result;
  EXPECT_EQ(lines_of("printf 'a\\n\\nb'; printf 'c' >&2; exit 3", result),
            (std::vector<std::string>{"a", "", "bc"}));
  EXPECT_EQ(result.status, 3);
  EXPECT_FALSE(result.ok());
  const auto many =
      lines_of("i=0; while [ $i -lt 5000 ]; do echo line$i; i=$((i+1)); done", result);
  ASSERT_EQ(many.size(), 5000u);
  EXPECT_EQ(many.back(), "line4999");
  EXPECT_TRUE(result.ok());
}

TEST(ChildProcessTest, ArgumentsAreNoShellWords) {
  std::vector<std::string> lines;
  run_child({"/bin/echo", "$HOME `id` ; *"}, ChildOutput::kLines,
            [&](std::string_view line) { lines.emplace_back(line); });
  EXPECT_EQ(lines, std::vector<std::string>{"$HOME `id` ; *"});
}

TEST(ChildProcessTest, InputIsEmptyAndSignalsAreTold) {
  ChildResult result;
  EXPECT_TRUE(lines_of("cat; kill -TERM $$", result).empty());
  EXPECT_EQ(result.signal, SIGTERM);
  EXPECT_FALSE(result.cancelled);
}

TEST(ChildProcessTest, ABackgroundProcessIsNotWaitedFor) {
  ChildResult result;
  EXPECT_EQ(lines_of("sleep 30 & echo done", result), std::vector<std::string>{"done"});
  EXPECT_TRUE(result.ok());
}

TEST(ChildProcessTest, WhatCannotBeStartedIsNamed) {
  try {
    run_child({"/no/such/program"}, ChildOutput::kLines, [](std::string_view) {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kNotFound);
    EXPECT_NE(error.message().find("/no/such/program"), std::string::npos);
  }
}

TEST(ChildProcessTest, AnErrorOfTheCallerEndsTheChild) {
  EXPECT_THROW(run_child({"/bin/sh", "-c", "echo x; sleep 60"}, ChildOutput::kLines,
                         [](std::string_view) { throw Error(ErrorCode::kInternal, "no"); }),
               Error);
}

TEST(ChildProcessTest, ProgramsAreFoundOnThePath) {
  EXPECT_EQ(find_program("/bin/sh"), "/bin/sh");
  EXPECT_TRUE(find_program("sh").has_value());
  EXPECT_FALSE(find_program("no-such-program-anywhere").has_value());
  EXPECT_FALSE(find_program("/tmp").has_value());
}

}  // namespace
}  // namespace lockstep
