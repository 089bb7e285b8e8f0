// The environment variables of huggingface_hub (constants.py, utils/_auth.py).
#include "hub/hub_settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "base/file.h"
#include "base/text.h"
#include "lockstep/error.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

fs::path path_of(const char* name) {
  const std::string value = environment(name);
  if (value == "~" || value.starts_with("~/")) {
    const std::string home = environment("HOME");
    if (!home.empty()) return home + value.substr(1);
  }
  return value;
}

bool is_true(const char* name) {
  std::string value = environment(name);
  std::transform(value.begin(), value.end(), value.begin(),
                 [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
  return value == "1" || value == "ON" || value == "YES" || value == "TRUE";
}

// Empty when there is no home either.
fs::path home_folder() {
  if (fs::path home = path_of("HF_HOME"); !home.empty()) return home;
  if (const fs::path xdg = path_of("XDG_CACHE_HOME"); !xdg.empty()) return xdg / "huggingface";
  const fs::path home = path_of("HOME");
  return home.empty() ? fs::path() : home / ".cache" / "huggingface";
}

fs::path cache_folder() {
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}) {
    if (fs::path value = path_of(name); !value.empty()) return value;
  }
  const fs::path home = home_folder();
  return home.empty() ? fs::path() : home / "hub";
}

// Without the space and line end that come with pasting.
std::string trimmed(const std::string& text) {
  const char* const kSpace = " \t\r\n";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

void read_token(HubSettings& settings) {
  if (is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN")) return;
  for (const char* name : {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"}) {
    settings.token = trimmed(environment(name));
    settings.token_source = name;
    if (!settings.token.empty()) break;
  }
  if (settings.token.empty()) {
    fs::path file = path_of("HF_TOKEN_PATH");
    if (file.empty() && !home_folder().empty()) file = home_folder() / "token";
    std::error_code ignored;
    if (!file.empty() && fs::is_regular_file(file, ignored)) {
      settings.token = trimmed(read_text_file(file, 1u << 16));
      settings.token_source = file.string();
    }
  }
  const auto is_bad = [](char c) { return c <= ' ' || c == 0x7f; };
  if (std::any_of(settings.token.begin(), settings.token.end(), is_bad)) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}: expected one token, found spaces or control characters in it",
                            settings.token_source),
                "set it to the token alone");
  }
}

}  // namespace

HubSettings HubSettings::from_environment() {
  HubSettings settings;
  if (const std::string endpoint = trimmed(environment("HF_ENDPOINT")); !endpoint.empty()) {
    settings.endpoint = endpoint;
    while (settings.endpoint.ends_with('/')) settings.endpoint.pop_back();
    const bool is_http =
        settings.endpoint.starts_with("https://") || settings.endpoint.starts_with("http://");
    if (!is_http || settings.endpoint.find_first_of(" @?#\\") != std::string::npos) {
      throw Error(ErrorCode::kInvalidArgument,
                  "HF_ENDPOINT: expected http:// or https://, a host and a path, found something "
                  "else",
                  "for example https://huggingface.co; a token goes into HF_TOKEN");
    }
  }
  read_token(settings);
  settings.cache = cache_folder();
  settings.offline = is_true("HF_HUB_OFFLINE") || is_true("TRANSFORMERS_OFFLINE");
  const std::string patience = environment("HF_HUB_DOWNLOAD_TIMEOUT");
  int seconds = 0;
  const auto [end, error] =
      std::from_chars(patience.data(), patience.data() + patience.size(), seconds);
  if (error == std::errc{} && end == patience.data() + patience.size() && seconds > 0) {
    settings.patience = std::chrono::seconds(seconds);
  }
  return settings;
}

HubSettings HubSettings::for_model(const std::string& model) {
  std::error_code ignored;
  return fs::is_directory(model, ignored) ? HubSettings() : from_environment();
}

}  // namespace lockstep
