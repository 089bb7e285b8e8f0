// How often and how long to wait before a request is made again.
#pragma once

#include <functional>
#include <string>

#include "hub/http.h"

namespace lockstep {

/// Counts the attempts of one task. `what` names it in messages: "org/name: config.json".
class Retry {
 public:
  Retry(const HttpSession& session, std::string what);
  /// Fewer attempts where nobody is reached at all.
  Retry(const HttpSession& session, std::string what, int attempts_to_connect);

  /// Waits as long as is right after `response`, which did not succeed but may later: what the
  /// server asks for, else twice as long each time. `progressed`: bytes came, so that the count
  /// starts anew. Throws kUnavailable when there were attempts enough or the server wants a wait
  /// that is too long, kCancelled when the session is stopped.
  void wait(const HttpResponse& response, bool progressed = false);

 private:
  const HttpSession& session_;
  std::string what_;
  int attempts_to_connect_;
  int n_failed_ = 0;
};

/// "HTTP 503 from http://..." or "no answer from http://...: reason".
std::string describe(const HttpResponse& response);

}  // namespace lockstep
