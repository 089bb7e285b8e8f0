// One streamed answer, timed: what its events say, in the dialects of OpenAI, vLLM and
// llama-server.
#pragma once

#include <simdjson.h>

#include <chrono>
#include <string>
#include <string_view>

#include "client/load.h"
#include "client/sse.h"

namespace lockstep::client {

class StreamTimes {
 public:
  using Clock = std::chrono::steady_clock;

  explicit StreamTimes(Clock::time_point due)
      : due_(due), reader_([this](std::string_view data) { on_event(data); }) {}
  // The reader calls back.
  StreamTimes(const StreamTimes&) = delete;
  StreamTimes& operator=(const StreamTimes&) = delete;

  /// False: the stream said that it failed, or is none.
  bool feed(std::string_view part, Clock::time_point now);
  /// `reply` is how the exchange ended; a stream without "[DONE]", or without a token, has failed.
  RequestTimes finish(const HttpReply& reply, Clock::time_point now);

 private:
  void on_event(std::string_view data);
  void read_choice(const simdjson::dom::element& choice);
  void read_counts(const simdjson::dom::element& event);

  Clock::time_point due_, now_{}, last_text_{};
  SseReader reader_;
  simdjson::dom::parser parser_;
  RequestTimes times_;
  int64_t n_parts_ = 0;
  bool is_done_ = false, has_finished_ = false;
};

}  // namespace lockstep::client
