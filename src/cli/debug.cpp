// lockstep debug: the whole protocol on one port, in one report.
#include "parity/debug/debug.h"

#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <optional>

#include "base/file.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/text.h"
#include "cli/command.h"
#include "cli/model_options.h"
#include "cli/pipelines.h"
#include "cli/run_to_run.h"
#include "cli/scratch_folder.h"
#include "cli/source_folders.h"
#include "cli/subject.h"
#include "parity/debug/brief.h"
#include "parity/debug/debug_report.h"
#include "port/donor_difference.h"

namespace lockstep::cli {
namespace {

struct DebugFlags {
  ModelOptions model;
  std::string reference, html, brief;
  bool strict = false, no_bisect = false;
  bool json = false;
};

// Arguments of further commands, after MODEL.
std::string arguments_of(const DebugFlags& flags) {
  std::string arguments;
  for (const std::string& folder : flags.model.custom_architectures) {
    arguments += "--custom-architectures " + folder + " ";
  }
  return arguments + "--reference " + flags.reference;
}

parity::BriefOptions brief_options(const DebugFlags& flags) {
  parity::BriefOptions options{flags.model.model, arguments_of(flags), {}};
  if (!flags.model.custom_architectures.empty()) {
    options.source_difference = [&flags](const parity::Fault& fault) {
      const port::DonorDifference found =
          port::donor_difference(flags.model.custom_architectures.front(), fault.module_class);
      return parity::BriefOptions::SourceDifference{found.markdown, found.command};
    };
  }
  return options;
}

void record(const DebugFlags& flags, const parity::DebugReport& report) {
  std::string figures = report.headline;
  for (const parity::Fault& fault : report.explained.faults) {
    figures += fmt::format("; {}: {}", fault.path, parity::cause_of(fault));
  }
  flags.model.record_run("debug", std::string(parity::outcome_name(report.outcome)), figures);
}

std::string since_last_run(const DebugFlags& flags, const Pipeline& pipeline,
                           const parity::DebugReport& report) {
  FoundVerdict found{"debug", std::string(parity::outcome_name(report.outcome)), "", ""};
  if (!report.explained.faults.empty()) {
    const parity::Fault& first = report.explained.faults.front();
    found.first = first.path;
    if (first.judgement.verdict == parity::CauseVerdict::kConfirmed) {
      found.cause = parity::cause_of(first);
    }
  }
  return run_to_run(flags.model, pipeline.model(), flags.reference, found,
                    execution_order(pipeline.graph()))
      .text;
}

int status_of(parity::Outcome outcome) {
  switch (outcome) {
    case parity::Outcome::kPass:
      return 0;
    case parity::Outcome::kDiverged:
      return 1;
    case parity::Outcome::kUndecided:
      break;
  }
  return 2;
}

int debug(const DebugFlags& flags) {
  const parity::Recording reference = parity::read_recording(flags.reference);
  // What cannot be written is said before the long part.
  if (!flags.brief.empty()) parity::check_brief_folder(flags.brief);
  std::optional<AtomicFile> html;
  if (!flags.html.empty()) html.emplace(flags.html);
  const ScratchFolder scratch;
  std::unique_ptr<Pipelines> pipelines;
  Progress progress("debug", 0);
  uint64_t n_stages = 0;
  parity::DebugOptions options;
  options.diff.strict = flags.strict;
  options.explain.source_folders = source_folders(flags.model);
  options.model = flags.model.model;
  if (!flags.model.custom_architectures.empty()) {
    options.port_folder = flags.model.custom_architectures.front();
  }
  options.dump = scratch.dump();
  options.on_stage = [&](const std::string& name) { progress.update(++n_stages, name); };
  const auto open = [&]() -> parity::OpenPort {
    if (flags.model.n_ranks() > 1) {
      throw Error(ErrorCode::kInvalidArgument,
                  "--devices: debug replays on one device, found " + flags.model.devices,
                  "dump with --devices and diff show what a division changes");
    }
    pipelines = std::make_unique<Pipelines>(flags.model, reference);
    return {pipelines->all(), pipelines->sequences()};
  };
  parity::Subject subject;
  if (!flags.no_bisect) {
    options.bisect = [&] {
      subject = subject_of(flags.model);
      make_servable(subject, flags.model.model);
      ThreadPool pool(flags.model.threads);
      parity::BisectOptions bisect_options;
      if (!flags.model.dtype.empty()) {
        bisect_options.dtype = parse_activation_dtype("--dtype", flags.model.dtype);
      }
      return parity::bisect(subject, reference, bisect_options, pool);
    };
  }
  parity::DebugReport report = parity::debug(reference, open, options);
  progress.hide();
  record(flags, report);
  if (pipelines != nullptr) report.since = since_last_run(flags, *pipelines->all().front(), report);
  if (html) {
    html->write(parity::debug_page(reference, report));
    html->commit();
  }
  if (!flags.brief.empty()) {
    const size_t n = parity::write_brief(flags.brief, reference, report, brief_options(flags));
    log_info(fmt::format("{}: {} in {}", flags.brief, counted(n, "task"),
                         (std::filesystem::path(flags.brief) / "README.md").string()));
  }
  if (flags.json) {
    fmt::print("{}", parity::debug_json(reference, report));
  } else {
    fmt::print("{}next: {}\n",
               parity::debug_text(reference, report, {.colour = isatty(STDOUT_FILENO) != 0}),
               report.next);
  }
  return status_of(report.outcome);
}

}  // namespace

void add_debug(CLI::App& app, Action& action) {
  auto flags = std::make_shared<DebugFlags>();
  CLI::App* command =
      add_command(app, "debug", "Where a port is wrong, why, and what is wrong behind it",
                  "lockstep debug examples/storyteller --reference examples/storyteller/reference "
                  "--html report.html");
  flags->model.add_to(*command);
  command->add_option("--reference", flags->reference, "recording of the reference")
      ->required()
      ->type_name("REF");
  command->add_option("--html", flags->html, "also write one HTML file")->type_name("F");
  command
      ->add_option("--brief", flags->brief,
                   "also write a folder with a task for each open question, its evidence computed")
      ->type_name("DIR");
  command->add_flag("--no-bisect", flags->no_bisect,
                    "one forward call alone: not by token, batched, chunked, cached, served");
  command->add_flag("--strict", flags->strict, "diverged above 1.5 times the floor");
  command->add_flag("--json", flags->json, "one JSON document on stdout");
  command->callback([flags, &action] {
    action.json = flags->json;
    action.run = [flags] { return debug(*flags); };
  });
}

}  // namespace lockstep::cli
