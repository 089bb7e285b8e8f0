#include "port/port_folder.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/file.h"
#include "hub/content_hash.h"
#include "lockstep/error.h"

namespace lockstep::port {
namespace fs = std::filesystem;
namespace {

bool is_left_out(const fs::path& folder) {
  const std::string name = folder.filename().string();
  return name.starts_with('.') || name == "tests";
}

std::vector<fs::path> sources_in(const fs::path& folder) {
  std::vector<fs::path> sources;
  for (auto at = fs::recursive_directory_iterator(folder); at != fs::end(at); ++at) {
    if (at->is_directory() && is_left_out(at->path())) at.disable_recursion_pending();
    const fs::path extension = at->path().extension();
    const bool is_source = extension == ".cpp" || extension == ".h";
    if (is_source && at->is_regular_file()) sources.push_back(at->path());
  }
  std::ranges::sort(sources);
  return sources;
}

bool is_port(const fs::path& folder) {
  std::error_code ignored;
  if (fs::is_regular_file(folder / "arch.cpp", ignored)) return true;
  return std::ranges::any_of(fs::directory_iterator(folder, ignored),
                             [](const auto& entry) { return entry.path().extension() == ".so"; });
}

[[noreturn]] void refuse(const fs::path& folder) {
  if (!fs::is_directory(folder)) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("{}: expected a port's folder, found {}", folder.string(),
                            fs::exists(folder) ? "a file" : "nothing"),
                "lockstep scaffold MODEL --start-from SLUG --output-dir DIR makes one");
  }
  std::vector<std::string> inside;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (entry.is_directory() && !is_left_out(entry.path()) && is_port(entry.path())) {
      inside.push_back(entry.path().string());
    }
  }
  std::ranges::sort(inside);
  if (!inside.empty()) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("{}: expected a port, found a folder of ports", folder.string()),
                fmt::format("name one of them: {}", fmt::join(inside, " ")));
  }
  throw Error(ErrorCode::kNotFound,
              fmt::format("{}: expected a port (arch.cpp), found none", folder.string()),
              "lockstep scaffold MODEL --start-from SLUG --output-dir DIR makes one");
}

}  // namespace

PortFolder PortFolder::open(const fs::path& folder) {
  std::error_code ignored;
  if (!fs::is_regular_file(folder / "arch.cpp", ignored)) refuse(folder);
  fs::path absolute = fs::absolute(folder).lexically_normal();
  if (!absolute.has_filename()) absolute = absolute.parent_path();
  return {absolute, absolute.filename().string(), sources_in(absolute)};
}

std::string PortFolder::content_hash() const {
  std::string all;
  for (const fs::path& source : sources) {
    const std::string text = read_text_file(source);
    all += fmt::format("{}\n{}\n", source.lexically_relative(folder).string(), text.size()) + text;
  }
  ContentHash hash(ContentHash::Kind::kSha256, all.size());
  hash.add(std::as_bytes(std::span(all)));
  return hash.finish();
}

}  // namespace lockstep::port
