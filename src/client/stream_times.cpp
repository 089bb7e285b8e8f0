#include "client/stream_times.h"

#include <fmt/format.h>

#include "base/text.h"

namespace lockstep::client {
namespace {

using Element = simdjson::dom::element;

double seconds(StreamTimes::Clock::duration time) {
  return std::chrono::duration<double>(time).count();
}

std::string_view text_at(const Element& object, std::string_view name) {
  std::string_view text;
  return object[name].get(text) == simdjson::SUCCESS ? text : std::string_view();
}

int64_t count_at(const Element& object, std::string_view name) {
  int64_t value = 0;
  return object[name].get(value) == simdjson::SUCCESS && value > 0 ? value : 0;
}

}  // namespace

bool StreamTimes::feed(std::string_view part, Clock::time_point now) {
  now_ = now;
  if (!reader_.feed(part) && times_.failure.empty()) times_.failure = "an event without end";
  return times_.failure.empty();
}

void StreamTimes::read_choice(const Element& choice) {
  std::string_view text = text_at(choice, "text");
  Element delta;
  if (choice["delta"].get(delta) == simdjson::SUCCESS) {
    for (const char* name : {"content", "reasoning_content", "reasoning"}) {
      if (text.empty()) text = text_at(delta, name);
    }
  }
  if (!text.empty()) {
    if (n_parts_++ == 0) {
      times_.ttft = seconds(now_ - due_);
    } else {
      times_.gaps.push_back(seconds(now_ - last_text_));
    }
    last_text_ = now_;
  }
  has_finished_ = has_finished_ || !text_at(choice, "finish_reason").empty();
}

void StreamTimes::read_counts(const Element& event) {
  Element counts;
  if (event["usage"].get(counts) == simdjson::SUCCESS &&
      count_at(counts, "completion_tokens") > 0) {
    times_.output_tokens = count_at(counts, "completion_tokens");
    times_.prompt_tokens = count_at(counts, "prompt_tokens");
    times_.counted_by = "usage";
  } else if (times_.counted_by != "usage" && event["timings"].get(counts) == simdjson::SUCCESS &&
             count_at(counts, "predicted_n") > 0) {
    times_.output_tokens = count_at(counts, "predicted_n");
    times_.prompt_tokens = count_at(counts, "prompt_n") + count_at(counts, "cache_n");
    times_.counted_by = "timings";
  }
}

void StreamTimes::on_event(std::string_view data) {
  if (!times_.failure.empty()) return;
  if (data == "[DONE]") {
    is_done_ = true;
    return;
  }
  Element event;
  if (parser_.parse(data.data(), data.size(), true).get(event) != simdjson::SUCCESS ||
      !event.is_object()) {
    times_.failure = "an event that is no JSON object: " + quote_text(data);
    return;
  }
  Element error;
  if (event["error"].get(error) == simdjson::SUCCESS && !error.is_null()) {
    times_.failure = "an error in the stream: " + server_message(data);
    return;
  }
  simdjson::dom::array choices;
  if (event["choices"].get(choices) == simdjson::SUCCESS) {
    for (const Element choice : choices) read_choice(choice);
  }
  read_counts(event);
}

RequestTimes StreamTimes::finish(const HttpReply& reply, Clock::time_point now) {
  times_.e2e = seconds(now - due_);
  if (times_.failure.empty()) {
    if (!reply.ok()) {
      times_.failure = describe(reply);
    } else if (!is_done_) {
      times_.failure = has_finished_ ? "the stream ended without [DONE]" : "the stream broke off";
    } else if (n_parts_ == 0 && times_.output_tokens == 0) {
      times_.failure = "no token came";
    }
  }
  if (times_.counted_by.empty() && n_parts_ > 0) {
    times_.output_tokens = n_parts_;
    times_.counted_by = "parts";
  }
  // Tokens without text: the answer's end is all there is.
  if (n_parts_ == 0) times_.ttft = times_.e2e;
  return std::move(times_);
}

}  // namespace lockstep::client
