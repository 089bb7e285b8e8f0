// A model served: engine, routes and HTTP together, from start to drain.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "runtime/engine.h"
#include "serve/api.h"
#include "serve/http.h"
#include "serve/served_model.h"

namespace lockstep::serve {

struct ServerOptions {
  HttpOptions http;
  ApiOptions api;
  /// How long requests under way may take once the server is told to end.
  std::chrono::seconds drain_time{30};
};

class Server {
 public:
  /// Listens; run() answers. Throws kUnavailable where it cannot listen.
  Server(ServedModel model, std::unique_ptr<Engine> engine, ServerOptions options);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// "http://HOST:PORT", with the port that was taken.
  std::string url() const;
  uint16_t port() const { return http_->port(); }
  Engine& engine() { return *engine_; }

  /// Serves on this thread until drained or stopped.
  void run();
  /// From any thread, once: no request is taken from now on; those under way end, or are cut after
  /// drain_time, and run() returns.
  void drain();
  /// From any thread: ends at once.
  void stop();

 private:
  ServerOptions options_;
  ServedModel model_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Api> api_;
  std::unique_ptr<HttpServer> http_;
};

/// Runs `server` until SIGTERM or SIGINT drains it; a second signal stops it at once. Signals must
/// be blocked (block_signals) before any thread is started.
void run_until_signal(Server& server);
void block_signals();

/// Lets this process have as many open connections as the system allows it.
void raise_descriptor_limit();

}  // namespace lockstep::serve
