// A whole server over loopback: any bytes as a request or as the body of one, and connections of
// many nearly right requests. Every answer is well formed and comes in time, the server lives on,
// and at the end nothing of any request is left.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "base/log.h"
#include "serve/fuzz_server_test_util.h"
#include "serve/fuzz_session_test_util.h"

namespace {

using namespace lockstep;
using namespace lockstep::serve;

// scripts/fuzz.sh runs in the repository's root.
constexpr const char* kFolder = "examples/storyteller";
constexpr int kSessionsAtOnce = 3;

test::FuzzTally tally;
test::FuzzServer* server = nullptr;

void require(const std::string& problem) {
  if (problem.empty()) return;
  std::fprintf(stderr, "%s\n", problem.c_str());
  std::abort();
}

void finish() {
  require(server->leftovers());
  std::fprintf(stderr, "server_fuzz: %s; nothing left over\n", tally.text().c_str());
  delete server;
}

uint16_t port() {
  if (server == nullptr) {
    set_log_level(LogLevel::kOff);
    server = new test::FuzzServer(kFolder);
    std::atexit(finish);
  }
  return server->port();
}

void run_bytes(uint8_t kind, const std::string& bytes) {
  constexpr const char* kRoutes[] = {"/v1/completions", "/v1/chat/completions", "/v1/embeddings",
                                     "/tokenize", "/detokenize"};
  ++tally.sessions;
  ++tally.requests;
  test::Client client(port());
  test::AnswerReader reader;
  if (kind < 5) {
    client.send(std::string("POST ") + kRoutes[kind] +
                " HTTP/1.1\r\nContent-Type: application/json\r\nConnection: close\r\n"
                "Content-Length: " +
                std::to_string(bytes.size()) + "\r\n\r\n" + bytes);
  } else {
    client.send(bytes);
    shutdown(client.descriptor(), SHUT_WR);
  }
  for (std::string part = client.receive_some(); !part.empty(); part = client.receive_some()) {
    reader.push(part);
  }
  reader.close(kind == 5);
  bool any = false;
  while (reader.next()) {
    any = true;
    ++tally.answers;
  }
  require(reader.problem);
  if (kind < 5 && !any) require("no answer");
}

void run_sessions(const uint8_t* data, size_t size) {
  std::vector<std::thread> threads;
  std::vector<std::string> problems(kSessionsAtOnce);
  const uint16_t at = port();
  for (int i = 0; i < kSessionsAtOnce; ++i) {
    threads.emplace_back([=, &problems] {
      // The first follows the fuzzer's bytes; the others draw numbers that these seed.
      std::vector<uint8_t> own(data, data + size);
      own.push_back(static_cast<uint8_t>(i));
      test::Choices choices(own.data(), own.size(), i > 0);
      problems[static_cast<size_t>(i)] = test::FuzzSession(at, choices, tally).run();
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& problem : problems) require(problem);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  if (data[0] >= 0x80) {
    run_sessions(data + 1, size - 1);
  } else {
    run_bytes(data[0] % 6, std::string(reinterpret_cast<const char*>(data) + 1, size - 1));
  }
  return 0;
}
