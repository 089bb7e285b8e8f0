// Which server a command talks to: --port or --base-url, and --api-key.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "client/target.h"

namespace lockstep::cli {

struct ServerOptions {
  int port = 0;
  std::string base_url, api_key;

  void add_to(CLI::App& command);
  bool is_given() const noexcept { return port != 0 || !base_url.empty(); }
  /// Throws kInvalidArgument unless exactly one of --port and --base-url is there and right.
  client::Target target() const;
};

/// `key`, else $LOCKSTEP_API_KEY.
std::string api_key_or_environment(const std::string& key);

}  // namespace lockstep::cli
