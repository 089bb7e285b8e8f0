// lockstep reference: runs the Python recorder, reference/record.py, in the user's own environment.
#include <fmt/format.h>

#include <array>
#include <memory>

#include "cli/command.h"
#include "cli/recorder.h"
#include "lockstep/error.h"

namespace lockstep::cli {
namespace {

using nlohmann::json;

int reference(const ReferenceFlags& flags) {
  if (!flags.self_test && (flags.model.empty() || flags.output.empty())) {
    throw Error(ErrorCode::kInvalidArgument,
                "reference: expected MODEL and --output DIR, or --self-test",
                "for example: lockstep reference MODEL --output /tmp/reference --detail --steps 4");
  }
  const json document = run_recorder(flags);
  if (flags.json) {
    fmt::print("{}\n", document.dump(2, ' ', false, json::error_handler_t::replace));
    return 0;
  }
  fmt::print("{}\n", document.value("message", ""));
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
