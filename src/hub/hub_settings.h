// Where the Hub is, where its cache is, and who asks: the environment variables of huggingface_hub.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>

namespace lockstep {

struct HubSettings {
  std::string endpoint = "https://huggingface.co";  // without a slash at the end
  std::string token;                                // empty: none. Never to be shown
  std::string token_source;                         // "HF_TOKEN" or a file, for messages
  std::filesystem::path cache;                      // empty when there is no home either
  bool offline = false;

  /// Nothing arrived for so long: the answer counts as cut off.
  std::chrono::seconds patience{10};
  /// Attempts without a byte of progress, and the wait after the first of them; it doubles.
  int attempts = 5;
  std::chrono::milliseconds first_wait{1000};
  /// A server that asks for a longer wait than this is not waited for.
  std::chrono::seconds longest_wait{120};
  int parallel_files = 8, parallel_headers = 16;

  /// HF_ENDPOINT; HF_TOKEN, else the file HF_TOKEN_PATH or HF_HOME/token (none of them with
  /// HF_HUB_DISABLE_IMPLICIT_TOKEN); HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME, HOME; HF_HUB_OFFLINE,
  /// TRANSFORMERS_OFFLINE; HF_HUB_DOWNLOAD_TIMEOUT. Throws kInvalidArgument naming the variable,
  /// never its value, for an endpoint that is no http URL or a token that cannot be sent.
  static HubSettings from_environment();
  /// The same for an id. A folder needs none of them, so a mistake in them does not matter.
  static HubSettings for_model(const std::string& model);
};

}  // namespace lockstep
