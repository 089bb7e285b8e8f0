#include "client/load.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <thread>

#include "client/http_loop.h"
#include "client/stream_times.h"

namespace lockstep::client {
namespace {

using Clock = StreamTimes::Clock;

const char* path_of(const LoadServer& server) {
  return server.route == Route::kChat ? "/v1/chat/completions" : "/v1/completions";
}

Json body_of(const LoadServer& server, const LoadRequest& request, bool is_stream) {
  Json body = {{"model", server.model},
               {"max_tokens", request.max_tokens},
               {"temperature", server.temperature},
               {"stream", is_stream}};
  if (server.route == Route::kChat) {
    body["messages"] = Json::array({{{"role", "user"}, {"content", request.prompt}}});
  } else {
    body["prompt"] = request.prompt;
  }
  if (server.ignores_eos) body["ignore_eos"] = true;
  if (is_stream && server.reports_usage) body["stream_options"] = {{"include_usage", true}};
  return body;
}

// Seconds since the level's beginning at which each request is due.
std::vector<double> arrivals(double rate, size_t n, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<double> times;
  double at = 0;
  for (size_t i = 0; i < n; ++i) {
    times.push_back(at);
    // By hand: what std::exponential_distribution draws is each library's own.
    const double uniform = static_cast<double>(random() >> 11) / 9007199254740992.0;
    at += -std::log1p(-uniform) / rate;
  }
  return times;
}

// The requests of one level, sent and timed.
class Level {
 public:
  Level(const LoadServer& server, const std::vector<LoadRequest>& requests)
      : server_(server), requests_(requests) {
    for (const LoadRequest& request : requests) {
      bodies_.push_back(
          body_of(server, request, true).dump(-1, ' ', false, Json::error_handler_t::replace));
    }
    level_.requests.resize(requests.size());
    begin_ = Clock::now();
  }

  LevelTimes run_open(const std::vector<double>& due) {
    size_t next = 0;
    while (next < due.size() || loop_.n_open() > 0) {
      const auto now = Clock::now();
      while (next < due.size() && begin_ + seconds(due[next]) <= now) {
        send(next, begin_ + seconds(due[next]));
        ++next;
      }
      const auto until =
          next < due.size() ? begin_ + seconds(due[next]) - now : Clock::duration(kStep);
      wait(std::min<Clock::duration>(until, kStep));
    }
    return finish();
  }

  LevelTimes run_closed(size_t n_at_once) {
    size_t next = 0;
    while (next < requests_.size() || loop_.n_open() > 0) {
      while (next < requests_.size() && loop_.n_open() < n_at_once) send(next++, Clock::now());
      wait(kStep);
    }
    return finish();
  }

 private:
  static constexpr std::chrono::milliseconds kStep{20};

  static Clock::duration seconds(double s) {
    return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(s));
  }
  static double in_seconds(Clock::duration time) {
    return std::chrono::duration<double>(time).count();
  }

  void wait(Clock::duration time) {
    if (loop_.n_open() == 0) {
      std::this_thread::sleep_for(time);
    } else {
      loop_.run_once(std::chrono::duration_cast<std::chrono::milliseconds>(time));
    }
  }

  void send(size_t index, Clock::time_point due) {
    auto stream = std::make_shared<StreamTimes>(due);
    const double lag = in_seconds(Clock::now() - due);
    loop_.start(
        server_.target, path_of(server_), &bodies_[index],
        [stream](std::string_view part) { return stream->feed(part, Clock::now()); },
        [this, stream, index, due, lag](const HttpReply& reply) {
          RequestTimes& times = level_.requests[index];
          times = stream->finish(reply, Clock::now());
          times.start = in_seconds(due - begin_);
          times.lag = lag;
        });
  }

  LevelTimes finish() {
    level_.seconds = in_seconds(Clock::now() - begin_);
    return std::move(level_);
  }

  const LoadServer& server_;
  const std::vector<LoadRequest>& requests_;
  std::vector<std::string> bodies_;
  LevelTimes level_;
  Clock::time_point begin_;
  HttpLoop loop_;
};

}  // namespace

std::string LoadLevel::label() const {
  if (kind == Kind::kClosed) return fmt::format("{} at once", static_cast<int64_t>(value));
  return fmt::format("{:g} req/s", value);
}

int64_t learn_dialect(LoadServer& server, const LoadRequest& request) {
  // In order of who is likelier to be refused; the last attempt's error is the one to show.
  for (bool* field : {static_cast<bool*>(nullptr), &server.ignores_eos, &server.reports_usage}) {
    if (field != nullptr) *field = false;
    // As the level asks, so that a refused field is found: as a stream.
    const std::string body =
        body_of(server, request, true).dump(-1, ' ', false, Json::error_handler_t::replace);
    StreamTimes stream(Clock::now());
    HttpReply reply;
    HttpLoop loop;
    loop.start(
        server.target, path_of(server), &body,
        [&](std::string_view part) { return stream.feed(part, Clock::now()); },
        [&](HttpReply came) { reply = std::move(came); });
    while (loop.n_open() > 0) loop.run_once(std::chrono::milliseconds(50));
    const RequestTimes times = stream.finish(reply, Clock::now());
    if (times.failure.empty()) return times.counted_by == "parts" ? 0 : times.prompt_tokens;
    const bool is_refused = reply.status == 400 || reply.status == 422 || reply.status == 501;
    if (is_refused && field != &server.reports_usage) continue;
    if (!reply.ok()) throw to_error(reply);
    throw Error(ErrorCode::kUnavailable, reply.url + ": " + times.failure);
  }
  return 0;
}

LevelTimes run_level(const LoadServer& server, const LoadLevel& level,
                     const std::vector<LoadRequest>& requests, uint64_t seed) {
  Level run(server, requests);
  if (level.kind == LoadLevel::Kind::kOpen) {
    return run.run_open(arrivals(level.value, requests.size(), seed));
  }
  return run.run_closed(static_cast<size_t>(level.value));
}

}  // namespace lockstep::client
