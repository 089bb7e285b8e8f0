// lockstep reference: runs the Python recorder, reference/record.py, in the user's own environment.
#include <fmt/format.h>

#include <array>
#include <csignal>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/child_process.h"
#include "base/progress.h"
#include "base/python.h"
#include "cli/command.h"
#include "lockstep/error.h"

namespace lockstep::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kRecorder = "reference/record.py";
struct ReferenceFlags {
  std::string model, output, taps, layers, device, python;
  std::vector<std::string> dtypes, attentions, prompts, chats, ids;
  std::vector<std::pair<std::string, std::string>> ordered;  // the three kinds, as they were given
  int steps = 0;
  bool taps_given = false, detail = false, trust = false, self_test = false, json = false;
};

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

int reference(const ReferenceFlags& flags) {
  if (!flags.self_test && (flags.model.empty() || flags.output.empty())) {
    throw Error(ErrorCode::kInvalidArgument,
                "reference: expected MODEL and --output DIR, or --self-test",
                "for example: lockstep reference MODEL --output /tmp/reference --detail --steps 4");
  }
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
  if (flags.json) {
    json document = events.done();
    document.erase("event");
    fmt::print("{}\n", document.dump(2, ' ', false, json::error_handler_t::replace));
    return 0;
  }
  fmt::print("{}\n", events.done().value("message", ""));
  if (!flags.self_test) {
    fmt::print("next: lockstep dump {} --like {} --output PORT\n", flags.model, flags.output);
  }
  return 0;
}

void add_options(CLI::App& command, ReferenceFlags& flags) {
  command.add_option("model", flags.model, "folder in Hugging Face layout, or Hub id")
      ->type_name("MODEL");
  command.add_option("--output", flags.output, "folder to write")->type_name("DIR");
  const auto repeated = [&](const char* name, std::vector<std::string>& values, const char* text) {
    return command.add_option(name, values, text)->allow_extra_args(false);
  };
  repeated("--dtype", flags.dtypes, "may be repeated (default float32 and bfloat16)")
      ->check(CLI::IsMember({"float32", "bfloat16", "float16", "float64"}));
  repeated("--attention", flags.attentions, "may be repeated (default eager)")
      ->check(CLI::IsMember({"eager", "sdpa"}));
  repeated("--prompt", flags.prompts, "text; may be repeated, as the next two");
  repeated("--chat", flags.chats, "a user's message, through the chat template");
  repeated("--prompt-ids", flags.ids, "token ids, separated by commas");
  command.add_option("--taps", flags.taps, "pattern over module paths; '' for the logits alone")
      ->type_name("GLOB");
  command.add_flag("--detail", flags.detail, "also inputs, q/k/v, scores, probabilities, context");
  command.add_option("--steps", flags.steps, "decode steps, with caches, states and masks")
      ->check(CLI::NonNegativeNumber);
  command.add_option("--layers", flags.layers, "load layers up to B only, record A to B")
      ->type_name("A:B");
  command.add_flag("--trust-remote-code", flags.trust,
                   "run Python code that comes with the checkpoint");
  command.add_option("--device", flags.device, "auto: spread over the GPUs (needs accelerate)")
      ->check(CLI::IsMember({"cpu", "auto"}));
  command.add_option("--python", flags.python,
                     "the Python to use (else $LOCKSTEP_PYTHON, an "
                     "active environment, python3)");
  command.add_flag("--self-test", flags.self_test,
                   "is this Python to be believed? Records the example, compares with its dump");
  command.add_flag("--json", flags.json, "one JSON document on stdout");
}

// Prompts keep the order of the command line, whatever their kind.
void put_in_order(const CLI::App& command, ReferenceFlags& flags) {
  const std::array<std::pair<const char*, const std::vector<std::string>*>, 3> kinds = {
      {{"--prompt", &flags.prompts}, {"--chat", &flags.chats}, {"--prompt-ids", &flags.ids}}};
  std::array<size_t, 3> next{};
  for (const CLI::Option* option : command.parse_order()) {
    for (size_t kind = 0; kind < kinds.size(); ++kind) {
      const auto& [name, texts] = kinds[kind];
      if (option->check_name(name) && next[kind] < texts->size()) {
        flags.ordered.emplace_back(name, (*texts)[next[kind]++]);
      }
    }
  }
}

}  // namespace

void add_reference(CLI::App& app, Action& action) {
  auto flags = std::make_shared<ReferenceFlags>();
  CLI::App* command =
      add_command(app, "reference", "Record what transformers computes, tap by tap",
                  "lockstep reference MODEL --output /tmp/reference --detail --steps 4\n"
                  "  lockstep reference --self-test");
  add_options(*command, *flags);
  command->callback([flags, command, &action] {
    action.json = flags->json;
    flags->taps_given = command->count("--taps") > 0;
    put_in_order(*command, *flags);
    action.run = [flags] { return reference(*flags); };
  });
}

}  // namespace lockstep::cli
