// Any bytes to a whole server over loopback: as a request, or as the body of one. Every answer is
// well formed and comes in time, and the server lives on.
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <thread>

#include "base/log.h"
#include "serve/loopback_test_util.h"
#include "serve/server.h"

namespace {

using namespace lockstep;
using namespace lockstep::serve;

// scripts/fuzz.sh runs in the repository's root.
constexpr const char* kFolder = "examples/storyteller";

std::unique_ptr<Server> make_server() {
  set_log_level(LogLevel::kOff);
  Model model = Model::open(kFolder, Registry());
  EngineOptions engine;
  engine.max_batch_size = 2;
  engine.max_length = 64;
  engine.cache_tokens = 512;
  const EnginePlan plan = plan_engine(model, engine);
  const GenerationDefaults defaults =
      read_generation_defaults(model.files.folder, model.files.config);
  PipelineOptions sizes = plan.pipeline;
  sizes.threads = 1;  // small steps, beside other targets
  ServedModel served = ServedModel::open(kFolder, "");
  served.names = {"m"};
  ServerOptions options;
  options.http.host = "127.0.0.1";
  options.http.port = 0;
  // Short, for what never ends; the time between connecting and sending is this program's own.
  options.http.header_time = options.http.body_time = std::chrono::milliseconds(300);
  auto pipeline = std::make_unique<Pipeline>(std::move(model), sizes);
  return std::make_unique<Server>(
      std::move(served), std::make_unique<Engine>(std::move(pipeline), plan, defaults), options);
}

uint16_t port() {
  // Lives until the process ends: what runs in it has no end of its own.
  static Server* const server = [] {
    Server* made = make_server().release();
    std::thread([made] { made->run(); }).detach();
    return made;
  }();
  return server->port();
}

void require(bool holds) {
  if (!holds) std::abort();
}

void check_answer(std::string_view got) {
  if (got.empty()) return;
  require(got.starts_with("HTTP/1.1 "));
  const size_t end = got.find("\r\n\r\n");
  require(end != got.npos);
  const std::string_view head = got.substr(0, end), rest = got.substr(end + 4);
  if (head.find("content-type: application/json") == head.npos) return;
  const size_t at = head.find("content-length: ");
  require(at != head.npos);
  const size_t length = std::stoul(std::string(head.substr(at + 16, 20)));
  if (rest.size() >= length) require(length == 0 || nlohmann::json::accept(rest.substr(0, length)));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  constexpr const char* kRoutes[] = {"/v1/completions", "/v1/chat/completions", "/v1/embeddings",
                                     "/tokenize", "/detokenize"};
  const std::string bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  test::Client client(port());
  require(client.is_open());
  const uint8_t kind = data[0] % 6;
  if (kind < 5) {
    client.send(std::string("POST ") + kRoutes[kind] +
                " HTTP/1.1\r\nContent-Type: application/json\r\nConnection: close\r\n"
                "Content-Length: " +
                std::to_string(bytes.size()) + "\r\n\r\n" + bytes);
    std::string got;
    for (std::string part = client.receive_some(); !part.empty(); part = client.receive_some()) {
      got += part;
    }
    require(!got.empty());
    check_answer(got);
  } else {
    client.send(bytes);
    const std::string got = client.receive_until("\r\n\r\n");
    if (got.find("<timeout>") == got.npos) check_answer(got);
  }
  return 0;
}
