// Waiting before a request is made again.
#include "hub/retry.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <thread>

#include "base/log.h"
#include "lockstep/error.h"

namespace lockstep {
namespace {

using std::chrono::milliseconds;

// In steps, so that a stop is noticed.
void sleep_unless_stopped(const HttpSession& session, milliseconds time) {
  constexpr milliseconds kStep{50};
  while (time.count() > 0 && !session.stopped()) {
    const milliseconds step = std::min(time, kStep);
    std::this_thread::sleep_for(step);
    time -= step;
  }
}

// Half of `time` up to all of it, so that many clients do not come back at once.
milliseconds spread(milliseconds time) {
  thread_local std::minstd_rand random{std::random_device{}()};
  std::uniform_int_distribution<int64_t> pick(time.count() / 2, time.count());
  return milliseconds(pick(random));
}

}  // namespace

std::string describe(const HttpResponse& response) {
  if (response.status == 0) {
    return fmt::format("no answer from {}: {}", response.shown_url, response.failure);
  }
  if (response.failure.empty()) {
    return fmt::format("HTTP {} from {}", response.status, response.shown_url);
  }
  return fmt::format("HTTP {} from {}, then: {}", response.status, response.shown_url,
                     response.failure);
}

Retry::Retry(const HttpSession& session, std::string what)
    : Retry(session, std::move(what), session.settings().attempts) {}

Retry::Retry(const HttpSession& session, std::string what, int attempts_to_connect)
    : session_(session), what_(std::move(what)), attempts_to_connect_(attempts_to_connect) {}

void Retry::wait(const HttpResponse& response, bool progressed) {
  const HubSettings& settings = session_.settings();
  n_failed_ = progressed ? 1 : n_failed_ + 1;
  if (session_.stopped()) throw Error(ErrorCode::kCancelled, what_ + ": stopped");
  if (n_failed_ >= (response.connected ? settings.attempts : attempts_to_connect_)) {
    throw Error(
        ErrorCode::kUnavailable,
        fmt::format("{}: gave up after {} attempts: {}", what_, n_failed_, describe(response)),
        "check the name, the connection and HF_ENDPOINT; a later run goes on from there");
  }
  milliseconds time = spread(settings.first_wait * (1 << std::min(n_failed_ - 1, 10)));
  if (response.retry_after_s >= 0) {
    time = std::chrono::seconds(response.retry_after_s);
    if (time > settings.longest_wait) {
      throw Error(ErrorCode::kUnavailable,
                  fmt::format("{}: {} asks to wait for {} s", what_, describe(response),
                              response.retry_after_s),
                  "run it again later; a token in HF_TOKEN raises the limit");
    }
  }
  log_debug(fmt::format("{}: {}; again in {} ms", what_, describe(response), time.count()));
  sleep_unless_stopped(session_, time);
}

}  // namespace lockstep
