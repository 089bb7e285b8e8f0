#include "client/target.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "hub/http.h"
#include "lockstep/error.h"

namespace lockstep::client {

Target Target::at(const std::string& option, std::string_view base_url, std::string api_key) {
  std::string_view url = base_url;
  while (url.ends_with('/')) url.remove_suffix(1);
  if (url.ends_with("/v1")) url.remove_suffix(3);
  while (url.ends_with('/')) url.remove_suffix(1);
  const bool is_http = url.starts_with("http://") || url.starts_with("https://");
  // What shown_url() leaves out, user and query, has no place in a base URL.
  std::string shown = is_http ? shown_url(url) : "";
  while (shown.ends_with('/')) shown.pop_back();
  if (!is_http || shown.empty() || url.find_first_of("?#@ ") != url.npos || shown == "(no URL)") {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}: expected http://HOST:PORT or https://HOST/PATH, found {}", option,
                            quote_text(base_url)),
                "keys go into --api-key");
  }
  const auto is_sendable = [](char c) { return c > 0x20 && c < 0x7f; };
  if (!std::ranges::all_of(api_key, is_sendable)) {
    throw Error(ErrorCode::kInvalidArgument,
                "--api-key: expected printable ASCII without blanks, found something else");
  }
  Target target;
  target.root = std::string(url);
  target.api_key = std::move(api_key);
  return target;
}

Target Target::local(int port, std::string api_key) {
  if (port < 1 || port > 65535) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("--port: expected 1 to 65535, found {}", port));
  }
  return at("--port", fmt::format("http://127.0.0.1:{}", port), std::move(api_key));
}

}  // namespace lockstep::client
