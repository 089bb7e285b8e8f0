#include "base/python.h"

#include <fmt/format.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "base/child_process.h"
#include "lockstep/error.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kInstall =
    "python3 -m venv ~/lockstep-python && ~/lockstep-python/bin/pip install torch transformers "
    "safetensors, then --python ~/lockstep-python/bin/python3 (or set LOCKSTEP_PYTHON)";

// Says which Python this is and what it lacks, without importing anything that takes long.
constexpr const char* kProbe =
    "import importlib.util, json, sys\n"
    "print(json.dumps({'version': '.'.join(map(str, sys.version_info[:3])), 'missing': ["
    "m for m in ('torch', 'transformers', 'safetensors') if importlib.util.find_spec(m) is None"
    "], 'old': sys.version_info < (3, 9)}))\n";

struct Python {
  std::string path;
  std::string fault;  // why it will not do, or empty
};

Python probe(const std::string& name) {
  Python python{name, ""};
  const std::optional<std::string> program = find_program(name);
  if (!program) return {name, "no such program"};
  python.path = *program;
  std::string printed;
  const ChildResult result =
      run_child({*program, "-c", kProbe}, ChildOutput::kLines,
                [&](std::string_view line) { printed.append(line).push_back('\n'); });
  if (result.cancelled) throw Error(ErrorCode::kCancelled, "interrupted, nothing was written");
  const size_t begin = printed.rfind('{');
  const json said = json::parse(begin == std::string::npos ? "" : printed.substr(begin), nullptr,
                                /*allow_exceptions=*/false);
  if (!result.ok() || !said.is_object() || !said.contains("missing")) {
    python.fault = "does not run Python: " + printed.substr(0, printed.find('\n'));
    return python;
  }
  const std::string version = said.value("version", "?");
  std::string missing;
  for (const json& module : said["missing"]) {
    missing += (missing.empty() ? "" : ", ") + module.get<std::string>();
  }
  if (said.value("old", false)) {
    python.fault = "is version " + version + ", 3.9 is needed";
  } else if (!missing.empty()) {
    python.fault = "(version " + version + ") has no " + missing;
  }
  return python;
}

// What to try, in order; one that was named is the only one.
std::vector<std::string> candidates(const std::string& named) {
  if (!named.empty()) return {named};
  const auto environment = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  if (const std::string chosen = environment("LOCKSTEP_PYTHON"); !chosen.empty()) return {chosen};
  std::vector<std::string> all;
  for (const char* active : {"VIRTUAL_ENV", "CONDA_PREFIX"}) {
    if (const std::string folder = environment(active); !folder.empty()) {
      all.push_back(folder + "/bin/python3");
    }
  }
  all.insert(all.end(), {"python3", "python"});
  return all;
}

}  // namespace

std::string find_python(const std::string& named) {
  std::string tried;
  for (const std::string& name : candidates(named)) {
    const Python python = probe(name);
    if (python.fault.empty()) return python.path;
    tried += (tried.empty() ? "" : "; ") + python.path + " " + python.fault;
  }
  throw Error(ErrorCode::kNotFound, "no Python with torch, transformers and safetensors: " + tried,
              kInstall);
}

fs::path find_shared_file(const std::string& relative) {
  const char* share = std::getenv("LOCKSTEP_SHARE");
  std::vector<fs::path> looked;
  if (share != nullptr && *share != '\0') {
    looked = {fs::path(share) / relative};
  } else {
    std::error_code ignored;
    fs::path folder = fs::read_symlink("/proc/self/exe", ignored).parent_path();
    looked = {folder.parent_path() / "share/lockstep" / relative};
    for (int up = 0; up < 5 && folder.has_relative_path(); ++up, folder = folder.parent_path()) {
      looked.push_back(folder.parent_path() / relative);
    }
  }
  for (const fs::path& file : looked) {
    std::error_code ignored;
    if (fs::is_regular_file(file, ignored)) return file;
  }
  throw Error(ErrorCode::kNotFound,
              fmt::format("{} was not found, expected {}", relative, looked.front().string()),
              "cmake --install puts it there; or set LOCKSTEP_SHARE to the folder that holds "
              "reference/");
}

}  // namespace lockstep
