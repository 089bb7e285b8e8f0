// lockstep explain: why a port is wrong, fault by fault, each with its number and its line.
#include "parity/explain/explain.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/model_options.h"
#include "cli/pipelines.h"
#include "cli/source_folders.h"
#include "parity/explain/explain_report.h"

namespace lockstep::cli {
namespace {

struct ExplainFlags {
  ModelOptions model;
  std::string reference;
  size_t rivals = 3;
  bool json = false;
};

int explain(const ExplainFlags& flags) {
  if (flags.model.n_ranks() > 1) {
    throw Error(ErrorCode::kInvalidArgument,
                "--devices: explain replays on one device, found " + flags.model.devices,
                "dump with --devices and diff show what a division changes");
  }
  const parity::Recording reference = parity::read_recording(flags.reference);
  const Pipelines pipelines(flags.model, reference);
  const parity::ExplainReport report =
      parity::explain(pipelines.all(), reference, {source_folders(flags.model)});
  if (flags.json) {
    fmt::print("{}\n", parity::explain_json(report));
  } else {
    fmt::print("{}", parity::explain_text(report, flags.rivals));
    const char* next = report.faults.empty() ? "verify" : "isolate";
    fmt::print("next: lockstep {} {} --reference {}\n", next, flags.model.model, flags.reference);
  }
  return parity::explain_status(report);
}

}  // namespace

void add_explain(CLI::App& app, Action& action) {
  auto flags = std::make_shared<ExplainFlags>();
  CLI::App* command = add_command(
      app, "explain", "Why a port is wrong: each fault's cause, its number and what to change",
      "lockstep explain examples/storyteller --reference examples/storyteller/golden");
  flags->model.add_to(*command);
  command->add_option("--reference", flags->reference, "recording of the reference")
      ->required()
      ->type_name("REF");
  command->add_option("--rivals", flags->rivals, "causes shown beside the first (default 3)")
      ->type_name("N");
  command->add_flag("--json", flags->json, "one JSON document on stdout");
  command->callback([flags, &action] {
    action.json = flags->json;
    action.run = [flags] { return explain(*flags); };
  });
}

}  // namespace lockstep::cli
