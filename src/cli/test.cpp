// lockstep test: a port's own cases, in both dtypes.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "base/text.h"
#include "cli/command.h"
#include "lockstep/error.h"
#include "port/port_cases.h"

namespace lockstep::cli {
namespace {

using Verdict = port::CaseResult::Verdict;

struct TestOptions {
  std::string port_dir;
  std::vector<std::string> only;
  bool json = false;
};

const char* name_of(Verdict verdict) {
  constexpr const char* kNames[] = {"PASS", "DIVERGED", "UNDECIDED"};
  return kNames[static_cast<int>(verdict)];
}

std::string figures(const port::CaseResult& result) {
  if (result.verdict == Verdict::kUndecided) return result.message;
  std::string text =
      fmt::format("{}, {}, logits {:.2f} of the floor, {:.1f} s", counted(result.n_runs, "run"),
                  counted(result.n_taps, "tap"), result.logits_ratio, result.seconds);
  if (!result.first_diverged.empty()) text += ", first diverged " + result.first_diverged;
  return text;
}

nlohmann::json json_of(const port::CaseResult& result) {
  return {{"case", result.name},
          {"dtype", result.dtype},
          {"verdict", name_of(result.verdict)},
          {"runs", result.n_runs},
          {"taps", result.n_taps},
          {"logits_ratio", result.logits_ratio},
          {"first_diverged", result.first_diverged},
          {"message", result.message},
          {"seconds", result.seconds}};
}

// The worst of all: one that is undecided leaves the whole undecided, unless another diverged.
int status_of(const std::vector<port::CaseResult>& results) {
  const auto any = [&](Verdict verdict) {
    return std::ranges::find(results, verdict, &port::CaseResult::verdict) != results.end();
  };
  return any(Verdict::kDiverged) ? 1 : any(Verdict::kUndecided) ? 2 : 0;
}

void print(const nlohmann::json& document) {
  fmt::print("{}\n", document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

// A port that does not compile does not hold.
int refuse(const TestOptions& options, const Error& error) {
  if (options.json) {
    print({{"port_dir", options.port_dir},
           {"verdict", "NOT COMPILED"},
           {"messages", error.message()}});
  }
  fmt::print(stderr, "lockstep: {}\n  {}\n", error.message(), error.hint());
  return 1;
}

int test(const TestOptions& options) {
  const port::PortFolder folder = port::PortFolder::open(options.port_dir);
  std::vector<std::filesystem::path> cases = port::list_cases(folder);
  std::erase_if(cases, [&](const std::filesystem::path& path) {
    return !options.only.empty() &&
           std::ranges::find(options.only, path.filename().string()) == options.only.end();
  });
  if (cases.empty()) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("{}: expected a case (a folder with config.json), found none",
                            (folder.folder / "tests").string()),
                "a case is a small model in Hugging Face layout with golden/, a recording by "
                "lockstep reference");
  }
  port::BuiltPort built;
  try {
    built = port::build_port(folder);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kFailedPrecondition) throw;
    return refuse(options, error);
  }
  if (!built.messages.empty()) log_warn(built.messages);
  const std::string program = std::filesystem::read_symlink("/proc/self/exe").string();
  std::vector<port::CaseResult> results;
  for (const std::filesystem::path& path : cases) {
    for (const char* dtype : {"float32", "bfloat16"}) {
      results.push_back(port::run_case(program, path, built, dtype));
      const port::CaseResult& result = results.back();
      if (options.json) continue;
      fmt::print("{:<16}  {:<8}  {:<9}  {}\n", result.name, result.dtype, name_of(result.verdict),
                 figures(result));
    }
  }
  const int status = status_of(results);
  constexpr const char* kOverall[] = {"PASS", "DIVERGED", "UNDECIDED"};
  if (options.json) {
    nlohmann::json list = nlohmann::json::array();
    for (const port::CaseResult& result : results) list.push_back(json_of(result));
    print({{"port_dir", options.port_dir},
           {"verdict", kOverall[status]},
           {"compile_seconds", built.seconds},
           {"cases", list}});
    return status;
  }
  fmt::print("{}: {}\n", kOverall[status], counted(results.size(), "verdict"));
  const std::string first = cases.front().string();
  fmt::print("next: {}\n", status == 0 ? "lockstep gates MODEL --port-dir " + options.port_dir
                                       : fmt::format("lockstep verify {0} --reference {0}/golden "
                                                     "--custom-architectures {1}",
                                                     first, options.port_dir));
  return status;
}

}  // namespace

void add_test(CLI::App& app, Action& action) {
  auto options = std::make_shared<TestOptions>();
  CLI::App* command = add_command(app, "test", "A port's own cases against the reference",
                                  "lockstep test ports/my_model");
  command->add_option("PORT_DIR", options->port_dir, "folder of a port, with cases in tests/")
      ->required();
  command->add_option("--case", options->only, "this case alone; may be given more than once")
      ->type_name("NAME");
  command->add_flag("--json", options->json, "one JSON document on stdout");
  command->callback([options, &action] {
    action.json = options->json;
    action.run = [options] { return test(*options); };
  });
}

}  // namespace lockstep::cli
