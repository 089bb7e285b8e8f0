// What a server sends, held against HTTP and OpenAI's shapes: for tests and fuzz targets.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "text/utf8.h"

namespace lockstep::serve::test {

/// One answer of a connection.
struct CheckedAnswer {
  int status = 0;
  std::string head, body;  // the body without its chunks
  bool is_stream = false, closes = false;
};

/// Takes answers off the front of what a connection received. What is wrong with one is in
/// `problem`; it stays empty as long as all is well formed so far.
class AnswerReader {
 public:
  std::string problem;

  void push(std::string_view bytes) { waiting_ += bytes; }
  bool is_empty() const { return waiting_.empty(); }
  const std::string& waiting() const { return waiting_; }

  /// The next answer, once it is whole; 100 Continue is passed over.
  std::optional<CheckedAnswer> next(bool to_head = false) {
    while (problem.empty()) {
      const size_t end = waiting_.find("\r\n\r\n");
      if (end == waiting_.npos) return std::nullopt;
      CheckedAnswer answer;
      answer.head = waiting_.substr(0, end);
      check_head(answer);
      if (!problem.empty()) return std::nullopt;
      if (answer.status == 100) {
        waiting_.erase(0, end + 4);
        continue;
      }
      const auto used = take_body(answer, end + 4, to_head);
      if (!used.has_value()) return std::nullopt;
      waiting_.erase(0, *used);
      if (!to_head) check_body(answer);
      return answer;
    }
    return std::nullopt;
  }

 private:
  using Json = nlohmann::ordered_json;

  void fail(const std::string& what, std::string_view where) {
    if (problem.empty()) problem = what + ": " + std::string(where.substr(0, 300));
  }

  static std::string_view header(const CheckedAnswer& answer, std::string_view name) {
    const std::string_view head = answer.head;
    for (size_t at = head.find("\r\n"); at != head.npos; at = head.find("\r\n", at + 2)) {
      const std::string_view line = head.substr(at + 2, head.find("\r\n", at + 2) - at - 2);
      if (line.size() > name.size() && line.starts_with(name) && line[name.size()] == ':') {
        return line.substr(std::min(line.size(), name.size() + 2));
      }
    }
    return {};
  }

  void check_head(CheckedAnswer& answer) {
    const std::string_view head = answer.head;
    const bool is_status = head.size() > 12 && head.starts_with("HTTP/1.1 ") && head[12] == ' ';
    if (!is_status) return fail("no status line", head);
    for (const char c : head.substr(9, 3)) {
      if (c < '0' || c > '9') return fail("no status", head);
      answer.status = answer.status * 10 + (c - '0');
    }
    for (size_t at = head.find("\r\n"); at != head.npos; at = head.find("\r\n", at + 2)) {
      const std::string_view line = head.substr(at + 2, head.find("\r\n", at + 2) - at - 2);
      const size_t colon = line.find(": ");
      if (colon == line.npos || colon == 0) return fail("a header without a name", line);
      for (const char c : line) {
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return fail("a control byte", line);
      }
    }
    answer.closes = header(answer, "connection") == "close";
    answer.is_stream = header(answer, "content-type").starts_with("text/event-stream");
  }

  // How many bytes the answer has; nothing where more must come.
  std::optional<size_t> take_body(CheckedAnswer& answer, size_t at, bool to_head) {
    const std::string_view length = header(answer, "content-length");
    if (to_head) return at;
    if (!length.empty()) {
      const size_t n = std::stoul(std::string(length));
      if (waiting_.size() < at + n) return std::nullopt;
      answer.body = waiting_.substr(at, n);
      return at + n;
    }
    if (header(answer, "transfer-encoding") != "chunked") {
      // To the end of the connection: whole for whoever asks once it is closed.
      if (!answer.closes) fail("neither a length nor chunks", answer.head);
      if (!closed_) return std::nullopt;
      answer.body = waiting_.substr(at);
      return waiting_.size();
    }
    for (;;) {
      const size_t end = waiting_.find("\r\n", at);
      if (end == waiting_.npos) return std::nullopt;
      size_t n = 0;
      const std::string digits = waiting_.substr(at, end - at);
      if (digits.empty() || digits.find_first_not_of("0123456789abcdef") != digits.npos) {
        fail("no size of a chunk", digits);
        return std::nullopt;
      }
      n = std::stoul(digits, nullptr, 16);
      if (waiting_.size() < end + 2 + n + 2) return std::nullopt;
      if (waiting_.compare(end + 2 + n, 2, "\r\n") != 0) fail("a chunk without an end", digits);
      answer.body.append(waiting_, end + 2, n);
      at = end + 2 + n + 2;
      if (n == 0) return at;
    }
  }

  void check_body(const CheckedAnswer& answer) {
    // Nothing that a client sends is the server's own fault.
    if (answer.status == 500) fail("an internal error", answer.body);
    if (answer.is_stream) return check_stream(answer);
    if (!header(answer, "content-type").starts_with("application/json")) {
      if (answer.status >= 400) fail("an error that is no JSON", answer.head);
      return;
    }
    const Json json = Json::parse(answer.body, nullptr, false);
    if (json.is_discarded()) return fail("no JSON", answer.body);
    if (answer.status < 400) {
      if (json.contains("error")) fail("an error with status 200", answer.body);
      return;
    }
    check_error(json, answer.status, answer.body);
  }

  void check_error(const Json& json, int status, std::string_view text) {
    if (!json.is_object() || !json.contains("error")) return fail("no error object", text);
    const Json& error = json["error"];
    if (status == 401 && error == "Unauthorized") return;
    const bool is_whole =
        error.is_object() && error.contains("message") && error["message"].is_string() &&
        error["message"] != "" && error.contains("type") && error["type"].is_string() &&
        error.contains("param") && (error["param"].is_null() || error["param"].is_string()) &&
        error.contains("code");
    if (!is_whole) return fail("an error object with parts missing", text);
    if (status != 0 && error["code"] != status) fail("another code than the status", text);
  }

  void check_stream(const CheckedAnswer& answer) {
    std::string_view rest = answer.body;
    bool done = false;
    while (!rest.empty()) {
      const size_t end = rest.find("\n\n");
      if (end == rest.npos) return fail("an event without an end", rest);
      const std::string_view event = rest.substr(0, end);
      rest.remove_prefix(end + 2);
      if (done) return fail("an event after [DONE]", event);
      if (!event.starts_with("data: ")) return fail("an event without data", event);
      if (event == "data: [DONE]") {
        done = true;
        continue;
      }
      const Json json = Json::parse(event.substr(6), nullptr, false);
      if (!json.is_object()) return fail("an event that is no JSON object", event);
      if (json.contains("error")) {
        check_error(json, 0, event);
      } else if (!json.contains("choices") || !json["choices"].is_array()) {
        return fail("a chunk without choices", event);
      }
    }
    if (!done) fail("a stream without [DONE]", answer.body);
  }

 public:
  /// No more will come. A client that left may have been told less than all.
  void close(bool left) { closed_ = !left; }

 private:
  std::string waiting_;
  bool closed_ = false;
};

}  // namespace lockstep::serve::test
