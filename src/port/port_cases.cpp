#include "port/port_cases.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "base/child_process.h"
#include "base/python.h"
#include "lockstep/error.h"

namespace lockstep::port {
namespace fs = std::filesystem;
namespace {

using nlohmann::json;

struct Ended {
  ChildResult result;
  std::vector<std::string> lines;
};

Ended run(const std::vector<std::string>& command) {
  Ended ended;
  ended.result = run_child(command, ChildOutput::kLines,
                           [&](std::string_view line) { ended.lines.emplace_back(line); });
  if (ended.result.cancelled) throw Error(ErrorCode::kCancelled, "interrupted");
  return ended;
}

// The JSON document among what a command printed.
json document_of(const std::vector<std::string>& lines) {
  for (const std::string& line : lines) {
    if (!line.starts_with('{')) continue;
    json document = json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (document.is_object()) return document;
  }
  return json::object();
}

// Errors are printed over several lines: the plain message stands on stderr as well.
std::string message_of(const std::vector<std::string>& lines) {
  constexpr std::string_view kOpening = "lockstep: ";
  for (const std::string& line : lines) {
    if (line.starts_with(kOpening)) return line.substr(kOpening.size());
  }
  return lines.empty() ? "nothing was printed" : lines.back();
}

void read_runs(const json& document, CaseResult& result) {
  for (const json& run : document.value("runs", json::array())) {
    ++result.n_runs;
    result.n_taps += run.value("taps", json::array()).size();
    const json logits = run.value("logits", json());
    if (logits.is_object() && logits.contains("ratio") && logits["ratio"].is_number()) {
      result.logits_ratio = std::max(result.logits_ratio, logits["ratio"].get<double>());
    }
    const json first = run.value("first_diverged", json());
    if (result.first_diverged.empty() && first.is_string()) result.first_diverged = first;
  }
}

}  // namespace

std::string make_case(const fs::path& folder, const fs::path& model_folder,
                      const std::string& python) {
  std::error_code ignored;
  try {
    fs::create_directories(folder.parent_path());
    const Ended ended =
        run({find_python(python), find_shared_file("reference/make_case.py").string(),
             model_folder.string(), "--output", folder.string(), "--seed", "1"});
    if (ended.result.ok()) return "";
    fs::remove_all(folder.parent_path(), ignored);
    return ended.lines.empty() ? "make_case.py failed" : ended.lines.back();
  } catch (const Error& error) {
    fs::remove_all(folder.parent_path(), ignored);
    if (error.code() == ErrorCode::kCancelled) throw;
    return error.message();
  }
}

std::vector<fs::path> list_cases(const PortFolder& port) {
  std::vector<fs::path> cases;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(port.folder / "tests", ignored)) {
    if (fs::is_regular_file(entry.path() / "config.json", ignored)) cases.push_back(entry.path());
  }
  std::ranges::sort(cases);
  return cases;
}

CaseResult run_case(const std::string& program, const fs::path& folder, const BuiltPort& built,
                    const std::string& dtype) {
  CaseResult result;
  result.name = folder.filename().string();
  result.dtype = dtype;
  if (!fs::is_directory(folder / "golden")) {
    result.message =
        fmt::format("no golden: lockstep reference {0} --output {0}/golden", folder.string());
    return result;
  }
  const auto begin = std::chrono::steady_clock::now();
  const Ended ended = run({program, "verify", folder.string(), "--reference",
                           (folder / "golden").string(), "--custom-architectures",
                           built.library.parent_path().string(), "--dtype", dtype, "--json"});
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const json document = document_of(ended.lines);
  read_runs(document, result);
  if (ended.result.status == 0 && ended.result.signal == 0) {
    result.verdict = CaseResult::Verdict::kPass;
  } else if (ended.result.status == 1) {
    result.verdict = CaseResult::Verdict::kDiverged;
  } else {
    result.message = message_of(ended.lines);
  }
  return result;
}

}  // namespace lockstep::port
