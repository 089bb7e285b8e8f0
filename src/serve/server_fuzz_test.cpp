// The server's fuzzing with fixed seeds: server_fuzz.cpp goes on where this ends.
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "serve/fuzz_server_test_util.h"
#include "serve/fuzz_session_test_util.h"

namespace lockstep::serve {
namespace {

TEST(ServerFuzz, EveryAnswerIsWellFormedAndNothingIsLeft) {
  const test::FuzzServer server(std::string(LOCKSTEP_SOURCE_DIR) + "/examples/storyteller");
  test::FuzzTally tally;
  std::vector<std::string> problems(3);
  std::vector<std::thread> threads;
  for (uint8_t thread = 0; thread < 3; ++thread) {
    threads.emplace_back([&, thread] {
      for (uint8_t i = 0; i < 250 && problems[thread].empty(); ++i) {
        const uint8_t seed[] = {thread, i};
        test::Choices choices(seed, sizeof(seed), true);
        problems[thread] = test::FuzzSession(server.port(), choices, tally).run();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& problem : problems) EXPECT_EQ(problem, "");
  EXPECT_EQ(server.leftovers(), "");
  RecordProperty("tally", tally.text());
  EXPECT_GT(tally.requests, 1'000u) << tally.text();
  EXPECT_GT(tally.by_status[2], 150u) << tally.text();
  EXPECT_GT(tally.by_status[4], 150u) << tally.text();
  EXPECT_GT(tally.streams, 20u) << tally.text();
}

}  // namespace
}  // namespace lockstep::serve
