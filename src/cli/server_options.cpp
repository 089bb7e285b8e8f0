#include "cli/server_options.h"

#include <cstdlib>

#include "lockstep/error.h"

namespace lockstep::cli {

std::string api_key_or_environment(const std::string& key) {
  if (!key.empty()) return key;
  const char* found = std::getenv("LOCKSTEP_API_KEY");
  return found == nullptr ? "" : found;
}

void ServerOptions::add_to(CLI::App& command) {
  command.add_option("--port", port, "of a server on this machine")->type_name("N");
  command
      .add_option("--base-url", base_url,
                  "of a server of the OpenAI API, with or without /v1 at its end")
      ->type_name("U");
  command.add_option("--api-key", api_key, "the key it wants; also LOCKSTEP_API_KEY")
      ->type_name("KEY");
}

client::Target ServerOptions::target() const {
  if ((port != 0) == !base_url.empty()) {
    throw Error(ErrorCode::kInvalidArgument,
                is_given() ? "expected one of --port and --base-url, found both"
                           : "expected --port N or --base-url U, found neither",
                "lockstep serve --model MODEL --port 8000 starts a server");
  }
  const std::string key = api_key_or_environment(api_key);
  return port != 0 ? client::Target::local(port, key)
                   : client::Target::at("--base-url", base_url, key);
}

}  // namespace lockstep::cli
