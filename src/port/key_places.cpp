#include "port/key_places.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "base/file.h"
#include "lockstep/error.h"
#include "port/sdk.h"

namespace lockstep::port {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> headers_in(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored)) {
    if (entry.path().extension() == ".h") files.push_back(entry.path());
  }
  std::ranges::sort(files);
  return files;
}

}  // namespace

KeyPlaces::KeyPlaces(const std::string& slug) {
  try {
    const fs::path sdk = find_sdk() / "lockstep";
    std::vector<fs::path> files = {sdk / "archs" / (slug + ".h")};
    std::ranges::copy(headers_in(sdk / "nn"), std::back_inserter(files));
    for (const fs::path& file : files) {
      std::error_code ignored;
      if (!fs::exists(file, ignored)) continue;
      headers_.emplace_back(
          fmt::format("{}/{}", file.parent_path().filename().string(), file.filename().string()),
          read_text_file(file));
    }
  } catch (const Error&) {
    headers_.clear();
  }
}

std::string KeyPlaces::find(std::string_view key) const {
  const std::string quoted = fmt::format("\"{}\"", key.substr(key.rfind('.') + 1));
  for (const auto& [name, text] : headers_) {
    const size_t at = text.find(quoted);
    if (at == std::string::npos) continue;
    return fmt::format("{}:{}", name, 1 + std::count(text.begin(), text.begin() + at, '\n'));
  }
  return "";
}

}  // namespace lockstep::port
