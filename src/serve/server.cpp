#include "serve/server.h"

#include <fmt/format.h>
#include <pthread.h>
#include <sys/resource.h>

#include <atomic>
#include <boost/asio/co_spawn.hpp>
#include <csignal>
#include <thread>

#include "base/log.h"

namespace lockstep::serve {
namespace {

sigset_t ending_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

// Answering is little work that others wait for, beside threads that always have some: it goes
// first where the system lets it. Of this thread alone: Linux counts threads as processes here.
void go_before_the_engine() { setpriority(PRIO_PROCESS, 0, -5); }

}  // namespace

Server::Server(ServedModel model, std::unique_ptr<Engine> engine, ServerOptions options)
    : options_(std::move(options)), model_(std::move(model)), engine_(std::move(engine)) {
  api_ = std::make_unique<Api>(model_, *engine_, options_.api);
  http_ = std::make_unique<HttpServer>(
      options_.http, [api = api_.get()](const HttpRequest& request) { return api->check(request); },
      [api = api_.get()](Exchange& exchange) { return api->handle(exchange); });
  http_->describe_failure = [](int status, const std::string& message) {
    return Api::error_response({status, message, "", status == 503 ? 1 : 0});
  };
  api_->http_counts = [http = http_.get()] { return http->counts(); };
}

// The engine's thread hands events to the server's, and what the server holds cancels requests of
// the engine: so the thread ends first and the engine goes last.
Server::~Server() {
  engine_->stop();
  http_.reset();
}

std::string Server::url() const {
  const std::string& host = options_.http.host;
  const bool is_ipv6 = host.find(':') != host.npos;
  return fmt::format("http://{}:{}", is_ipv6 ? "[" + host + "]" : host, port());
}

void Server::run() { http_->run(); }

void Server::drain() {
  api_->set_draining();
  engine_->drain();
  http_->drain();
  http_->stop_after(options_.drain_time);
}

void Server::stop() { http_->stop(); }

void block_signals() {
  const sigset_t set = ending_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  // A client that leaves is an error of a write, not the end of the process.
  std::signal(SIGPIPE, SIG_IGN);
}

void run_until_signal(Server& server) {
  std::atomic<bool> over = false;
  std::thread waiter([&] {
    const sigset_t set = ending_signals();
    int signal = 0;
    sigwait(&set, &signal);
    if (over) return;
    log_info(fmt::format("signal {}: requests under way are finished; again ends at once", signal));
    server.drain();
    sigwait(&set, &signal);
    if (!over) server.stop();
  });
  go_before_the_engine();
  server.run();
  over = true;
  pthread_kill(waiter.native_handle(), SIGTERM);  // wakes the waiter
  waiter.join();
}

void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace lockstep::serve
