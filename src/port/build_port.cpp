// A compiled port lies in <root>/<key>/<slug>.so, the key being a hash of its sources, the SDK, the
// compiler and the flags; <root> is the port's .lockstep, or in the user's cache.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>

#include "base/child_process.h"
#include "base/file.h"
#include "base/file_lock.h"
#include "hub/content_hash.h"
#include "lockstep/error.h"
#include "port/port_folder.h"
#include "port/sdk.h"

namespace lockstep::port {
namespace fs = std::filesystem;
namespace {

constexpr size_t kKeyLength = 16;
constexpr size_t kKept = 8;  // contents whose plug-ins are kept
constexpr const char* kWarnings = "warnings.txt";
// A port's code runs once a load, to trace: compiling fast is worth more than running fast. Of a
// port's two seconds a precompiled lockstep.h would save a fifth, at 70 MB.
constexpr const char* kFlags[] = {"-std=c++20",          "-O1",   "-fPIC",   "-shared",
                                  "-fvisibility=hidden", "-Wall", "-Wextra", "-Wl,-z,defs"};

struct Recipe {
  fs::path sdk;
  std::vector<std::string> compiler;
  std::string key;
};

Recipe recipe_of(const PortFolder& port) {
  Recipe recipe{find_sdk(), find_compiler(), ""};
  std::string all = port.slug + "\n" + port.content_hash();
  all += tools_hash(recipe.sdk, recipe.compiler);
  for (const char* flag : kFlags) all += flag;
  ContentHash hash(ContentHash::Kind::kSha256, all.size());
  hash.add(std::as_bytes(std::span(all)));
  recipe.key = hash.finish().substr(0, kKeyLength);
  return recipe;
}

// Where plug-ins of `port` may lie: its own folder, then the user's cache.
std::vector<fs::path> roots_of(const PortFolder& port) {
  std::vector<fs::path> roots = {port.folder / ".lockstep"};
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  if (cache != nullptr && *cache != '\0') {
    roots.push_back(fs::path(cache) / "lockstep" / "ports");
  } else if (home != nullptr && *home != '\0') {
    roots.push_back(fs::path(home) / ".cache" / "lockstep" / "ports");
  }
  return roots;
}

fs::path writable_root(const PortFolder& port) {
  for (const fs::path& root : roots_of(port)) {
    std::error_code error;
    const bool is_new = fs::create_directories(root, error);
    if (error || ::access(root.c_str(), W_OK) != 0) continue;
    // What is compiled is nobody's to commit.
    if (is_new && root.parent_path() == port.folder) {
      AtomicFile ignore(root / ".gitignore");
      ignore.write("*\n");
      ignore.commit();
    }
    return root;
  }
  throw Error(ErrorCode::kUnavailable,
              fmt::format("{}: cannot be written to, and neither can a cache of the user's",
                          port.folder.string()),
              "set XDG_CACHE_HOME to a folder that can");
}

std::optional<BuiltPort> built_in(const fs::path& root, const std::string& key,
                                  const PortFolder& port) {
  const fs::path library = root / key / (port.slug + ".so");
  std::error_code ignored;
  if (!fs::is_regular_file(library, ignored)) return std::nullopt;
  return BuiltPort{library, false, 0, read_text_file(root / key / kWarnings)};
}

std::optional<BuiltPort> find_built(const PortFolder& port, const std::string& key) {
  for (const fs::path& root : roots_of(port)) {
    if (auto built = built_in(root, key, port)) return built;
  }
  return std::nullopt;
}

// The files that the compiler read, SDK and system left out: what make would read.
std::vector<fs::path> dependencies(const fs::path& rule) {
  const std::string text = read_text_file(rule);
  std::vector<fs::path> files;
  std::string word;
  const auto end_word = [&] {
    if (!word.empty()) files.emplace_back(word);
    word.clear();
  };
  for (size_t i = text.find(": ") + 2; i < text.size(); ++i) {
    const bool is_escape = text[i] == '\\' && i + 1 < text.size();
    if (is_escape && text[i + 1] != '\n') {
      word += text[++i];
    } else if (is_escape || text[i] == ' ' || text[i] == '\n') {
      end_word();
    } else {
      word += text[i];
    }
  }
  end_word();
  return files;
}

// Whether a content was compiled before is told by the folder's sources: nothing else may be in it.
void expect_own_sources(const PortFolder& port, const fs::path& rule) {
  for (const fs::path& file : dependencies(rule)) {
    const fs::path normal = fs::absolute(file).lexically_normal();
    if (std::ranges::find(port.sources, normal) != port.sources.end()) continue;
    throw Error(ErrorCode::kFailedPrecondition,
                fmt::format("{}: expected includes of the port's own *.h and *.cpp, found {}",
                            port.folder.string(), normal.string()),
                "a port is one folder: copy the file into it");
  }
}

std::vector<std::string> command_of(const PortFolder& port, const Recipe& recipe,
                                    const fs::path& into) {
  std::vector<std::string> command = recipe.compiler;
  command.insert(command.end(), std::begin(kFlags), std::end(kFlags));
  command.insert(command.end(),
                 {"-isystem", recipe.sdk.string(), "-MMD", "-MF", (into / "rule.d").string(), "-o",
                  (into / (port.slug + ".so")).string(), (port.folder / "arch.cpp").string()});
  return command;
}

// Fills `into` with the plug-in and the compiler's warnings.
BuiltPort compile(const PortFolder& port, const Recipe& recipe, const fs::path& into) {
  const std::vector<std::string> command = command_of(port, recipe, into);
  std::string messages;
  const auto begin = std::chrono::steady_clock::now();
  const ChildResult result = run_child(command, ChildOutput::kLines, [&](std::string_view line) {
    messages.append(line).push_back('\n');
  });
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  if (result.cancelled) throw Error(ErrorCode::kCancelled, "interrupted, nothing was built");
  if (!result.ok()) {
    throw Error(ErrorCode::kFailedPrecondition,
                fmt::format("{} does not compile:\n{}", port.folder.string(), messages),
                fmt::format("the command was: {}", fmt::join(command, " ")));
  }
  expect_own_sources(port, into / "rule.d");
  AtomicFile warnings(into / kWarnings);
  warnings.write(messages);
  warnings.commit();
  return {into / (port.slug + ".so"), true, seconds.count(), messages};
}

// Takes away all but the newest plug-ins, so that editing does not fill the disk. A process that
// has one of them mapped keeps it.
void prune(const fs::path& root) {
  std::vector<std::pair<fs::file_time_type, fs::path>> kept;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(root, ignored)) {
    if (entry.is_directory(ignored)) {
      kept.emplace_back(entry.last_write_time(ignored), entry.path());
    }
  }
  if (kept.size() <= kKept) return;
  std::ranges::sort(kept, std::greater());
  for (size_t i = kKept; i < kept.size(); ++i) fs::remove_all(kept[i].second, ignored);
}

}  // namespace

std::optional<BuiltPort> find_built(const PortFolder& port) {
  return find_built(port, recipe_of(port).key);
}

BuiltPort build_port(const PortFolder& port) {
  const Recipe recipe = recipe_of(port);
  if (auto built = find_built(port, recipe.key)) return *built;
  const fs::path root = writable_root(port);
  const FileLock lock(root / "lock");
  if (auto built = built_in(root, recipe.key, port)) return *built;  // another process did it
  const fs::path unfinished = root / "unfinished", finished = root / recipe.key;
  // What an interrupted build left behind.
  fs::remove_all(unfinished);
  fs::create_directory(unfinished);
  try {
    BuiltPort built = compile(port, recipe, unfinished);
    fs::rename(unfinished, finished);
    built.library = finished / built.library.filename();
    if (root.parent_path() == port.folder) prune(root);
    return built;
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(unfinished, ignored);
    throw;
  }
}

}  // namespace lockstep::port
