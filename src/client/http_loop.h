// Many HTTP exchanges at once on one thread, over libcurl's multi interface: bodies are handed on
// as they come, nothing is followed, nothing unbounded is kept.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "client/target.h"

namespace lockstep::client {

/// What came. `status` 0: no answer at all. `failure` says why there is no answer or why the body
/// broke off; it is empty where the receiver had enough.
struct HttpReply {
  std::string url;
  int status = 0;
  std::string body;  // of an answer that went to no receiver, and of any that is no success
  std::string failure;
  bool connected = true;  // false: nobody was reached at all
  bool timed_out = false;

  bool ok() const noexcept { return status >= 200 && status < 300 && failure.empty(); }
};

/// Each part of a successful body; false: that was enough.
using OnPart = std::function<bool(std::string_view)>;
using OnEnd = std::function<void(HttpReply)>;

/// For one thread. Callbacks run inside run_once(), which throws what they throw.
class HttpLoop {
 public:
  HttpLoop();
  ~HttpLoop();
  HttpLoop(const HttpLoop&) = delete;
  HttpLoop& operator=(const HttpLoop&) = delete;

  /// Begins a GET (`body` null) or a POST of JSON. Without `on_part` the body is kept in the reply,
  /// at most target.max_body bytes of it. `on_end` is called exactly once, unless the loop is
  /// destroyed before.
  void start(const Target& target, std::string_view path, const std::string* body, OnPart on_part,
             OnEnd on_end);
  size_t n_open() const noexcept;
  /// Moves on what can be moved; returns after `wait`, or as soon as something came.
  void run_once(std::chrono::milliseconds wait);

 private:
  struct Exchange;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep::client
