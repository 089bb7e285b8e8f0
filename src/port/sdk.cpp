#include "port/sdk.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <sstream>

#include "base/child_process.h"
#include "base/file.h"
#include "base/text.h"
#include "hub/content_hash.h"
#include "lockstep/error.h"

namespace lockstep::port {
namespace fs = std::filesystem;

fs::path find_sdk() {
  const fs::path program = fs::read_symlink("/proc/self/exe");
  const fs::path include = program.parent_path().parent_path() / "include";
  if (fs::is_regular_file(include / "lockstep" / "lockstep.h")) return include;
  throw Error(ErrorCode::kNotFound,
              fmt::format("the SDK was not found, expected {}",
                          (include / "lockstep" / "lockstep.h").string()),
              "cmake --install puts it beside the program");
}

std::vector<std::string> find_compiler() {
  const char* chosen = std::getenv("CXX");
  std::istringstream words(chosen == nullptr ? "" : chosen);
  std::vector<std::string> compiler;
  for (std::string word; words >> word;) compiler.push_back(word);
  const bool is_chosen = !compiler.empty();
  if (!is_chosen) compiler = {"c++"};
  const std::optional<std::string> program = find_program(compiler.front());
  if (!program) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("no C++ compiler: {}{} cannot be run", is_chosen ? "CXX: " : "",
                            quote_text(compiler.front())),
                "install one (apt-get install g++), or set CXX to it");
  }
  compiler.front() = *program;
  return compiler;
}

std::string tools_hash(const fs::path& sdk, const std::vector<std::string>& compiler) {
  std::vector<fs::path> headers;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(sdk / "lockstep")) {
    if (entry.is_regular_file()) headers.push_back(entry.path());
  }
  std::ranges::sort(headers);
  std::string all;
  for (const fs::path& header : headers) {
    all += header.lexically_relative(sdk).string() + "\n" + read_text_file(header);
  }
  for (const std::string& argument : compiler) all += argument + "\n";
  const fs::path program = fs::canonical(compiler.front());
  all += fmt::format("{} {} {}", program.string(), fs::file_size(program),
                     fs::last_write_time(program).time_since_epoch().count());
  ContentHash hash(ContentHash::Kind::kSha256, all.size());
  hash.add(std::as_bytes(std::span(all)));
  return hash.finish();
}

}  // namespace lockstep::port
