// lockstep inspect: a model before anything is ported, from its small files and tensor headers.
#include "port/inspect.h"

#include <fmt/format.h>

#include <memory>

#include "base/file.h"
#include "base/log.h"
#include "cli/command.h"
#include "port/load_ports.h"

namespace lockstep::cli {
namespace {

struct InspectFlags {
  std::string model, output, python = "python3";
  std::vector<std::string> custom_architectures;
  bool json = false;
};

int inspect(const InspectFlags& flags) {
  Registry registry;
  for (const std::string& folder : flags.custom_architectures) {
    port::load_port(registry, folder, log_info);
  }
  const port::ModelFacts facts = port::ModelFacts::survey(flags.model);
  const port::Inspection inspection = port::inspect(facts, registry, {.python = flags.python});
  std::string report;
  if (flags.json) {
    report =
        port::to_json(inspection).dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
    report += '\n';
  } else {
    report = port::to_text(inspection);
  }
  if (!flags.output.empty()) {
    AtomicFile file(flags.output);
    file.write(report);
    file.commit();
  }
  fmt::print("{}", report);
  return 0;
}

}  // namespace

void add_inspect(CLI::App& app, Action& action) {
  auto flags = std::make_shared<InspectFlags>();
  CLI::App* command =
      add_command(app, "inspect", "A model before a port: keys, shapes, card, reference, deltas",
                  "lockstep inspect org/name --output inspect.txt");
  command->add_option("MODEL", flags->model, "folder in Hugging Face layout, or a Hub id")
      ->required();
  command->add_option("--output", flags->output, "the same report as a file")->type_name("F");
  command
      ->add_option("--custom-architectures", flags->custom_architectures,
                   "folder of a port; may be given more than once")
      ->type_name("DIR");
  command
      ->add_option("--python", flags->python,
                   "which Python is asked where transformers is; nothing of it is run")
      ->capture_default_str();
  command->add_flag("--json", flags->json, "one JSON document on stdout");
  command->callback([flags, &action] {
    action.json = flags->json;
    action.run = [flags] { return inspect(*flags); };
  });
}

}  // namespace lockstep::cli
