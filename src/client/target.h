// Where a server of the OpenAI API is, and how long and how much of it is waited for.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>

namespace lockstep::client {

struct Target {
  std::string root;     // "http://127.0.0.1:8000": scheme, host, port, path, no slash at the end
  std::string api_key;  // empty: none is sent. Never to be shown

  std::chrono::milliseconds connect_timeout{10'000};
  /// Nothing arrived for so long: the answer counts as cut off.
  std::chrono::milliseconds patience{120'000};
  /// An answer that is larger is refused.
  size_t max_body = 256u << 20;

  /// `base_url` as clients of OpenAI write it, with or without "/v1" at its end. `option` is the
  /// flag it came from. Throws kInvalidArgument for what is no http or https URL without query,
  /// and for a key that no header can hold.
  static Target at(const std::string& option, std::string_view base_url, std::string api_key = {});
  /// The server on this machine.
  static Target local(int port, std::string api_key = {});

  /// `path` below the root: url("/v1/models").
  std::string url(std::string_view path) const { return root + std::string(path); }
};

}  // namespace lockstep::client
