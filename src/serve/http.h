// One HTTP request and its answer, and the server that hands them to a handler.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lockstep::serve {

struct HttpRequest {
  std::string method, path;  // the path without a query, decoded
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case

  /// The first of this name (in lower case); empty where there is none.
  std::string_view header(std::string_view name) const;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers{};
};

/// An answer on its way. To be used on the server's thread.
class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual const HttpRequest& request() const = 0;
  /// The body, to be taken away.
  virtual std::string take_body() = 0;
  virtual boost::asio::awaitable<void> respond(HttpResponse response) = 0;
  /// An answer in parts: once begin(), then write()s, then end(). False when the client is gone or
  /// too slow; nothing more need be written then.
  virtual boost::asio::awaitable<bool> begin(HttpResponse head) = 0;
  virtual boost::asio::awaitable<bool> write(std::string part) = 0;
  virtual boost::asio::awaitable<bool> end() = 0;
  /// Called once, on the server's thread, when the client leaves before the answer's end.
  virtual void on_gone(std::function<void()> callback) = 0;
};

struct HttpOptions {
  std::string host = "0.0.0.0";
  uint16_t port = 8000;  // 0: any that is free
  size_t max_header_bytes = 32u << 10;
  size_t max_body_bytes = 32u << 20;
  size_t max_bodies_bytes = 256u << 20;  // of all requests together
  size_t max_connections = 16384;
  std::chrono::milliseconds header_time{10'000};  // from the first byte to the end of the headers
  std::chrono::milliseconds body_time{20'000};    // beyond a second each 64 KiB
  std::chrono::milliseconds idle_time{75'000};    // between requests
  std::chrono::milliseconds write_time{30'000};   // without a byte taken
};

struct HttpCounts {
  size_t n_connections = 0, n_active = 0;  // n_active: with a request under way
};

class HttpServer {
 public:
  /// Answers at once, from the headers alone, what need not be read on; nothing: read the body.
  using Check = std::function<std::optional<HttpResponse>(const HttpRequest&)>;
  using Handler = std::function<boost::asio::awaitable<void>(Exchange&)>;

  /// Binds and listens. Throws kUnavailable naming host and port.
  HttpServer(const HttpOptions& options, Check check, Handler handler);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  uint16_t port() const noexcept;
  boost::asio::any_io_executor executor() const;
  /// Serves on this thread until stopped, or drained.
  void run();
  /// From any thread: accepts no more, closes idle connections; run() returns when the requests
  /// under way are answered.
  void drain();
  /// From any thread: run() returns soon; connections are cut.
  void stop();
  void stop_after(std::chrono::milliseconds time);
  /// From the server's thread.
  HttpCounts counts() const;
  /// What turns a request down that could not be understood; set before run(). The default has no
  /// body.
  std::function<HttpResponse(int status, const std::string& message)> describe_failure;

 private:
  friend class Connection;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep::serve
