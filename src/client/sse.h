// Server-sent events as streams of the OpenAI API are written:
// https://html.spec.whatwg.org/multipage/server-sent-events.html
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace lockstep::client {

/// Puts events together from parts that break anywhere. Fields other than `data` are left out.
class SseReader {
 public:
  /// One event's data; several lines are joined by "\n".
  using OnEvent = std::function<void(std::string_view data)>;

  explicit SseReader(OnEvent on_event, size_t max_bytes = 16u << 20)
      : on_event_(std::move(on_event)), max_bytes_(max_bytes) {}

  /// False: a line or an event is longer than `max_bytes`; nothing more is read then.
  bool feed(std::string_view part);
  /// Whether bytes wait that are no whole event: at a stream's end it was cut.
  bool in_event() const noexcept { return !line_.empty() || has_data_; }

 private:
  void end_line(std::string_view line);

  OnEvent on_event_;
  size_t max_bytes_;
  std::string line_, data_;
  bool has_data_ = false, too_long_ = false;
};

}  // namespace lockstep::client
