// HTTP requests over libcurl: kept connections, redirects followed by hand, so that the token is
// given to one host alone.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "hub/hub_settings.h"

namespace lockstep {

struct HttpRequest {
  enum class Method { kGet, kHead };
  enum class Redirects { kAll, kSameOrigin };

  std::string url;
  Method method = Method::kGet;
  /// kSameOrigin returns a redirect that leads to another host, as it is.
  Redirects redirects = Redirects::kAll;
  /// The first byte wanted; `end` is one past the last, nothing up to the file's end.
  std::optional<uint64_t> begin, end;
};

/// What came. `status` 0: no answer at all. `failure` says why there is no answer or why the body
/// broke off; it is empty where the sink had enough.
struct HttpResponse {
  int status = 0;
  std::string shown_url;                       // of the last answer, without query or user
  std::map<std::string, std::string> headers;  // of the last answer, names in lower case
  std::string failure;
  bool connected = true;       // false: nobody was reached at all
  std::string error_body;      // of an answer that is no success: its first bytes
  int64_t retry_after_s = -1;  // -1: not said
  uint64_t body_bytes = 0;     // handed to the sink

  bool ok() const noexcept { return status >= 200 && status < 300 && failure.empty(); }
  /// Whether the same request may well succeed later.
  bool is_passing() const noexcept;
  const std::string* header(const std::string& name) const;
  /// A header as a number; nothing when absent or none.
  std::optional<uint64_t> number(const std::string& name) const;
  /// "bytes 5-9/100": where the body begins and how large the file is.
  struct Range {
    uint64_t begin = 0;
    std::optional<uint64_t> total;
  };
  /// For a 206 its Content-Range; for a 200 the whole file.
  std::optional<Range> range() const;
};

/// Called with each part of a successful body; false: that was enough.
using HttpSink = std::function<bool(const HttpResponse&, std::span<const std::byte>)>;

/// One thread's connections. `stop` may be set by another thread: requests then end with a failure.
class HttpSession {
 public:
  HttpSession(const HubSettings& settings, const std::atomic<bool>& stop);
  ~HttpSession();
  HttpSession(const HttpSession&) = delete;
  HttpSession& operator=(const HttpSession&) = delete;

  /// One attempt, at most ten redirects. The token goes where scheme, host and port are those of
  /// the endpoint, and nowhere else. Throws only what `sink` throws.
  HttpResponse perform(const HttpRequest& request, const HttpSink& sink);

  const HubSettings& settings() const noexcept;
  bool stopped() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Readies libcurl, once a process; its own lazy way is not thread-safe. Throws kInternal.
void start_curl();

/// The URL without user, query and fragment: signed URLs are secrets too.
std::string shown_url(std::string_view url);
/// Percent-encodes all but letters, digits, `-._~` and what `kept` lists.
std::string url_encoded(std::string_view text, std::string_view kept = "");

}  // namespace lockstep
