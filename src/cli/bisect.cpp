// lockstep bisect: which way of running differs first, from one forward call to a server.
#include "parity/bisect/bisect.h"

#include <fmt/format.h>

#include <memory>

#include "cli/command.h"
#include "cli/model_options.h"
#include "cli/subject.h"
#include "lockstep/error.h"
#include "parity/bisect/report.h"

namespace lockstep::cli {
namespace {

struct BisectFlags {
  ModelOptions model;
  std::string reference, stage, base_url, api_key, control;
  int64_t steps = 0;
  int prompt = -1;
  bool json = false;
};

parity::BisectOptions options_of(const BisectFlags& flags) {
  parity::BisectOptions options;
  options.steps = flags.steps;
  if (flags.prompt >= 0) options.prompt = flags.prompt;
  if (!flags.model.dtype.empty()) {
    options.dtype = parse_activation_dtype("--dtype", flags.model.dtype);
  }
  if (!flags.stage.empty()) options.only = parity::parse_stage("--stage", flags.stage);
  if (!flags.base_url.empty()) {
    options.server = client::Target::at("--base-url", flags.base_url, flags.api_key);
  }
  return options;
}

// The command that shows the first difference and nothing else.
std::string repro_of(const BisectFlags& flags, const parity::BisectReport& report) {
  const parity::StageResult* first = report.first();
  if (first == nullptr) return {};
  const parity::StageFinding& finding = first->findings.front();
  std::string command = fmt::format("lockstep bisect {} --reference {} --stage {}",
                                    flags.model.model, flags.reference, stage_name(first->stage));
  for (const std::string& folder : flags.model.custom_architectures) {
    command += " --custom-architectures " + folder;
  }
  if (!finding.dtype.empty()) command += " --dtype " + finding.dtype;
  if (finding.prompt >= 0) command += fmt::format(" --prompt {}", finding.prompt);
  // One more than the step that differs, so that it is among them.
  if (finding.step >= 0) command += fmt::format(" --steps {}", std::max<int64_t>(2, finding.step + 2));
  if (!flags.base_url.empty()) command += " --base-url " + flags.base_url;
  return command;
}

std::string next_of(const BisectFlags& flags, const parity::BisectReport& report,
                    const std::string& repro) {
  const parity::StageResult* first = report.first();
  if (first == nullptr) {
    return report.outcome == parity::Outcome::kPass
               ? fmt::format("lockstep serve --model {}", flags.model.model)
               : fmt::format("lockstep reference {} --output REF", flags.model.model);
  }
  if (first->stage == parity::Stage::kTeacherForced) {
    return fmt::format("lockstep isolate {} --reference {}", flags.model.model, flags.reference);
  }
  return repro;
}

int bisect(const BisectFlags& flags) {
  const parity::Recording reference = parity::read_recording(flags.reference);
  const parity::BisectOptions options = options_of(flags);
  parity::Subject subject = subject_of(flags.model);
  make_servable(subject, flags.model.model);
  ThreadPool pool(flags.model.threads);
  const parity::BisectReport report = parity::bisect(subject, reference, options, pool);
  std::optional<parity::Control> control;
  ModelOptions control_options;
  control_options.model = flags.control;
  control_options.threads = flags.model.threads;
  control_options.quiet = true;
  if (!flags.control.empty() && report.first() != nullptr) {
    parity::Subject other = subject_of(control_options);
    make_servable(other, flags.control);
    control = parity::run_control(subject, other, report, pool);
  }
  const std::string repro = repro_of(flags, report);
  flags.model.record_run("bisect", std::string(outcome_name(report.outcome)),
                         report.first() == nullptr
                             ? fmt::format("{} stages", report.stages.size())
                             : fmt::format("first stage that differs: {}",
                                           stage_name(report.first()->stage)));
  if (flags.json) {
    fmt::print("{}\n", bisect_json(report, control ? &*control : nullptr, repro));
  } else {
    fmt::print("{}", bisect_text(report));
    if (control) fmt::print("{}", control_text(*control));
    if (!repro.empty()) fmt::print("repro: {}\n", repro);
    fmt::print("next: {}\n", next_of(flags, report, repro));
  }
  if (report.outcome == parity::Outcome::kUndecided) return 2;
  return report.outcome == parity::Outcome::kPass ? 0 : 1;
}

}  // namespace

void add_bisect(CLI::App& app, Action& action) {
  auto flags = std::make_shared<BisectFlags>();
  CLI::App* command = add_command(
      app, "bisect", "Which way of running differs first: forced, by token, batched, ..., served",
      "lockstep bisect examples/storyteller --reference examples/storyteller/reference");
  flags->model.add_to(*command);
  command->add_option("--reference", flags->reference, "recording of the reference")
      ->required()
      ->type_name("REF");
  command->add_option("--steps", flags->steps, "generated tokens to look at (default: all)")
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 20))
      ->type_name("K");
  command->add_option("--prompt", flags->prompt, "only this prompt of the recording")
      ->check(CLI::Range(0, 1 << 20))
      ->type_name("N");
  command->add_option("--stage", flags->stage, "only this stage")->type_name("NAME");
  command->add_option("--base-url", flags->base_url, "a running server, instead of our own")
      ->type_name("U");
  command->add_option("--api-key", flags->api_key, "key to send with --base-url")->type_name("KEY");
  command
      ->add_option("--control", flags->control,
                   "a registered model of the same class: engine or port")
      ->type_name("MODEL2");
  command->add_flag("--json", flags->json, "one JSON document on stdout");
  command->callback([flags, &action] {
    action.json = flags->json;
    action.run = [flags] { return bisect(*flags); };
  });
}

}  // namespace lockstep::cli
