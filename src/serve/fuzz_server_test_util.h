// A small server of storyteller in this process, for fuzzing: started once, ended with the process.
#pragma once

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>

#include "serve/loopback_test_util.h"
#include "serve/server.h"

namespace lockstep::serve::test {

class FuzzServer {
 public:
  explicit FuzzServer(const std::string& folder) {
    Model model = Model::open(folder, Registry());
    EngineOptions engine;
    engine.max_batch_size = 4;
    engine.max_length = 64;
    engine.cache_tokens = 512;
    const EnginePlan plan = plan_engine(model, engine);
    const GenerationDefaults defaults =
        read_generation_defaults(model.files.folder, model.files.config);
    PipelineOptions sizes = plan.pipeline;
    sizes.threads = 1;  // small steps, beside other programs
    ServedModel served = ServedModel::open(folder, "");
    served.names = {"m"};
    ServerOptions options;
    options.http.host = "127.0.0.1";
    options.http.port = 0;
    options.http.header_time = options.http.body_time = std::chrono::seconds(5);
    auto pipeline = std::make_unique<Pipeline>(std::move(model), sizes);
    server_ = std::make_unique<Server>(
        std::move(served), std::make_unique<Engine>(std::move(pipeline), plan, defaults), options);
    thread_ = std::thread([this] { server_->run(); });
    descriptors_ = n_descriptors();
  }
  ~FuzzServer() {
    server_->drain();
    thread_.join();
  }
  FuzzServer(const FuzzServer&) = delete;
  FuzzServer& operator=(const FuzzServer&) = delete;

  uint16_t port() const { return server_->port(); }

  /// Empty once nothing of any request is left: none under way, no page of the cache held, no
  /// descriptor open. Waits up to half a minute; then what is left.
  std::string leftovers() const {
    std::string left;
    for (int i = 0; i < 300; ++i) {
      left = leftovers_now();
      if (left.empty()) return left;
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    return left;
  }

 private:
  static size_t n_descriptors() {
    const std::filesystem::directory_iterator all("/proc/self/fd");
    return static_cast<size_t>(std::distance(begin(all), end(all)));
  }

  std::string leftovers_now() const {
    const auto answer = get("/metrics");
    if (!answer.has_value()) return "no metrics";
    const auto gauge = [&](const std::string& name) {
      const size_t at = answer->body.find("\n" + name);
      if (at == std::string::npos) return -1.0;
      return std::stod(answer->body.substr(answer->body.find(' ', at + 1)));
    };
    std::string left;
    for (const char* name : {"vllm:num_requests_running", "vllm:num_requests_waiting"}) {
      if (gauge(name) != 0) left += std::string(name) + " ";
    }
    if (gauge("lockstep:cache_pages_used") > 0) left += "pages of the cache ";
    if (gauge("lockstep:http_connections") != 1) left += "connections ";
    if (n_descriptors() > descriptors_) left += "descriptors ";
    return left;
  }

  std::optional<Answer> get(const std::string& path) const {
    Client client(port());
    client.send("GET " + path + " HTTP/1.1\r\nHost: h\r\n\r\n");
    std::string waiting;
    return read_answer(client, waiting);
  }

  std::unique_ptr<Server> server_;
  std::thread thread_;
  size_t descriptors_ = 0;
};

}  // namespace lockstep::serve::test
