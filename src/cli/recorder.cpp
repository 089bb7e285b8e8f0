#include "cli/recorder.h"

#include <fmt/format.h>

#include <csignal>
#include <filesystem>

#include "base/child_process.h"
#include "base/progress.h"
#include "base/python.h"
#include "lockstep/error.h"

namespace lockstep::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kRecorder = "reference/record.py";

// MODEL stands first: argparse takes an optional positional only before the options. The others
// are one argument each, so that a text may begin with a dash.
std::vector<std::string> recorder_arguments(const ReferenceFlags& flags) {
  std::vector<std::string> arguments;
  const auto add = [&](const char* option, const std::string& value) {
    arguments.push_back(std::string(option) + "=" + value);
  };
  if (!flags.model.empty()) arguments.push_back(flags.model);
  if (!flags.output.empty()) add("--output", flags.output);
  for (const std::string& dtype : flags.dtypes) add("--dtype", dtype);
  for (const std::string& attention : flags.attentions) add("--attention", attention);
  for (const auto& [option, text] : flags.ordered) add(option.c_str(), text);
  if (flags.taps_given) add("--taps", flags.taps);
  if (flags.detail) arguments.emplace_back("--detail");
  if (flags.steps > 0) add("--steps", std::to_string(flags.steps));
  if (!flags.layers.empty()) add("--layers", flags.layers);
  if (flags.trust) arguments.emplace_back("--trust-remote-code");
  if (!flags.device.empty()) add("--device", flags.device);
  if (flags.self_test) arguments.emplace_back("--self-test");
  arguments.emplace_back("--progress-json");
  return arguments;
}

uint64_t count_or(size_t n, uint64_t none) { return n == 0 ? none : n; }

// How many runs the recorder will announce; its defaults are two dtypes, eager, three prompts.
uint64_t expected_runs(const ReferenceFlags& flags) {
  if (flags.self_test) return 0;
  return count_or(flags.dtypes.size(), 2) * count_or(flags.attentions.size(), 1) *
         count_or(flags.ordered.size(), 3) * (static_cast<uint64_t>(flags.steps) + 1);
}

// The recorder's events become a progress line, messages, and in the end a result or an error.
class Events {
 public:
  explicit Events(uint64_t runs) : progress_("recording", runs) {}

  void line(std::string_view text) {
    const json event = json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!event.is_object() || !event.contains("event")) {
      say(text);  // a library's own words, or a traceback: as it is
      return;
    }
    const std::string kind = event.value("event", ""), message = event.value("message", "");
    if (kind == "load") {
      progress_.update(runs_, "loading " + message);
    } else if (kind == "run") {
      progress_.update(runs_++, "recording " + message);
    } else if (kind == "error") {
      error_ = event;
    } else if (kind == "done") {
      done_ = event;
    } else {
      say(kind + ": " + message);
    }
  }

  void finish() { progress_.hide(); }
  const json& error() const { return error_; }
  const json& done() const { return done_; }

 private:
  void say(std::string_view text) {
    progress_.hide();
    fmt::print(stderr, "{}\n", text);
  }

  Progress progress_;
  uint64_t runs_ = 0;
  json error_, done_;
};

[[noreturn]] void refuse(const ChildResult& result, const json& error) {
  if (result.signal != 0) {
    throw Error(
        ErrorCode::kResourceExhausted,
        fmt::format("the recorder was ended by signal {}; nothing was written", result.signal),
        result.signal == SIGKILL
            ? "most often memory ran out: record one --dtype at a time, or some --layers A:B"
            : "");
  }
  if (error.is_object() && error.contains("key")) {
    const auto field = [&](const char* name) { return error.value(name, ""); };
    throw Error(ErrorCode::kFailedPrecondition,
                fmt::format("{}: {}: expected {}, found {}", field("file"), field("key"),
                            field("expected"), field("found")),
                field("do"));
  }
  if (error.is_object()) {
    throw Error(ErrorCode::kUnavailable, "the recorder: " + error.value("message", ""));
  }
  throw Error(ErrorCode::kUnavailable,
              fmt::format("the recorder ended with status {}; nothing was written", result.status),
              "what it printed stands above");
}

// A recorder that was killed could not remove its unfinished folder.
void remove_unfinished(const ReferenceFlags& flags, int pid) {
  if (flags.output.empty()) return;
  fs::path folder = fs::path(flags.output).lexically_normal();
  if (!folder.has_filename()) folder = folder.parent_path();
  folder += fmt::format(".partial-{}", pid);
  std::error_code ignored;
  fs::remove_all(folder, ignored);
}

}  // namespace

json run_recorder(const ReferenceFlags& flags) {
  const fs::path recorder = find_shared_file(kRecorder);
  std::vector<std::string> command = {find_python(flags.python), recorder.string()};
  for (std::string& argument : recorder_arguments(flags)) command.push_back(std::move(argument));

  Events events(expected_runs(flags));
  const ChildResult result =
      run_child(command, ChildOutput::kLines, [&](std::string_view line) { events.line(line); });
  events.finish();
  if (!result.ok() || result.cancelled) remove_unfinished(flags, result.pid);
  if (result.cancelled) throw Error(ErrorCode::kCancelled, "interrupted, nothing was written");
  if (!result.ok()) refuse(result, events.error());
  if (!events.done().is_object()) {
    throw Error(ErrorCode::kInternal, "the recorder ended without saying what it recorded",
                recorder.string() + " may be of another version than this program");
  }
  json document = events.done();
  document.erase("event");
  return document;
}

}  // namespace lockstep::cli
