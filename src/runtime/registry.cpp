#include "runtime/registry.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "lockstep/error.h"

extern "C" const LockstepArchitecture* const* lockstep_builtin_architectures(size_t* n);

namespace lockstep {
namespace fs = std::filesystem;
namespace {

bool is_compiled_port(const fs::directory_entry& entry) {
  return entry.is_regular_file() && entry.path().extension() == ".so";
}

std::vector<fs::path> compiled_ports(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored)) {
    if (is_compiled_port(entry)) files.push_back(entry.path());
  }
  std::ranges::sort(files);
  return files;
}

[[noreturn]] void refuse_folder(const fs::path& folder) {
  if (!fs::is_directory(folder)) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("{}: expected a folder with a compiled port", folder.string()),
                "give --custom-architectures the folder that holds the port's .so");
  }
  std::string below;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored)) {
    if (entry.is_directory() && !compiled_ports(entry.path()).empty()) {
      below += " " + entry.path().string();
    }
  }
  if (!below.empty()) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("{}: expected a port, found a folder of ports", folder.string()),
                "name one of them:" + below);
  }
  throw Error(ErrorCode::kNotFound,
              fmt::format("{}: expected a compiled port (*.so), found none", folder.string()),
              "compile it against the installed SDK first: docs/adding-an-architecture.md");
}

const LockstepPort& open_port(const fs::path& file) {
  // Never closed: architectures and their strings stay in use until the program ends.
  void* library = dlopen(fs::absolute(file).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    throw Error(ErrorCode::kFailedPrecondition,
                fmt::format("{}: cannot be loaded: {}", file.string(), dlerror()));
  }
  const auto entry = reinterpret_cast<LockstepPortEntry>(dlsym(library, "lockstep_port"));
  if (entry == nullptr) {
    throw Error(ErrorCode::kFailedPrecondition,
                fmt::format("{}: expected the function lockstep_port, found none", file.string()),
                "a port ends with LOCKSTEP_PORT(slug)");
  }
  const LockstepPort* port = entry();
  // The first two fields never move, so they can be read whatever the version.
  if (port == nullptr || port->abi_version != LOCKSTEP_ABI_VERSION) {
    throw Error(
        ErrorCode::kFailedPrecondition,
        fmt::format("{}: built for plug-in version {} (SDK {}), this program speaks version "
                    "{} (SDK {})",
                    file.string(), port == nullptr ? 0 : port->abi_version,
                    port == nullptr ? "unknown" : port->sdk_version, LOCKSTEP_ABI_VERSION,
                    LOCKSTEP_SDK_VERSION),
        "compile the port again with the SDK of this program");
  }
  return *port;
}

}  // namespace

Registry::Registry() {
  size_t n = 0;
  const LockstepArchitecture* const* all = lockstep_builtin_architectures(&n);
  for (size_t i = 0; i < n; ++i) entries_.push_back({all[i], "built in"});
}

void Registry::load_ports(const fs::path& folder) {
  const std::vector<fs::path> files = compiled_ports(folder);
  if (files.empty()) refuse_folder(folder);
  for (const fs::path& file : files) {
    const LockstepPort& port = open_port(file);
    for (size_t i = 0; i < port.n_architectures; ++i) {
      entries_.insert(entries_.begin(), {port.architectures[i], file.string()});
    }
  }
}

void Registry::leave_out(std::string_view class_name) {
  std::erase_if(entries_, [&](const Entry& e) { return e.architecture->class_name == class_name; });
}

const LockstepArchitecture* Registry::find(std::string_view class_name) const {
  const auto at = std::ranges::find_if(
      entries_, [&](const Entry& e) { return e.architecture->class_name == class_name; });
  return at == entries_.end() ? nullptr : at->architecture;
}

const LockstepArchitecture& Registry::resolve(const ConfigFile& config) const {
  if (config.kind("architectures") != ConfigFile::Kind::kArray ||
      config.length("architectures") < 1) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}: architectures: expected a list with a class name", config.file()));
  }
  const std::string& class_name = config.get_string("architectures.0");
  if (const LockstepArchitecture* architecture = find(class_name)) return *architecture;
  std::string known;
  for (const Entry& entry : entries_) {
    known += (known.empty() ? "" : ", ") + std::string(entry.architecture->class_name);
  }
  throw Error(ErrorCode::kNotFound,
              fmt::format("{}: architectures[0]: {} is not registered; registered: {}",
                          config.file(), quote_text(class_name), known),
              "a port of it is loaded with --custom-architectures DIR");
}

}  // namespace lockstep
