// lockstep verify: the port against a recording of the reference, run by run, tap by tap.
#include "parity/verify.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/model_options.h"
#include "cli/pipelines.h"
#include "cli/run_to_run.h"
#include "cli/scratch_folder.h"
#include "parity/dump.h"
#include "parity/report.h"

namespace lockstep::cli {
namespace {

struct VerifyOptions {
  ModelOptions model;
  std::string reference, save, against;
  int tier = 6;
  bool strict = false;
  bool json = false;
};

// The report ends in what to do after a diff; a verification goes on itself.
std::string without_next(std::string text) {
  const size_t last = text.rfind("\nnext: ");
  if (last != std::string::npos) text.resize(last + 1);
  return text;
}

nlohmann::json greedy_json(const std::vector<parity::GreedyCheck>& checks) {
  constexpr const char* kNames[] = {"same", "tie", "differs"};
  nlohmann::json list = nlohmann::json::array();
  for (const parity::GreedyCheck& check : checks) {
    list.push_back({{"dtype", check.dtype},
                    {"prompt", check.prompt},
                    {"tokens", check.tokens},
                    {"total", check.total},
                    {"outcome", kNames[static_cast<int>(check.outcome)]},
                    {"margin", check.margin},
                    {"noise", check.noise}});
  }
  return list;
}

std::string verdict_of(const parity::DiffReport& report, bool text_differs) {
  const bool is_pass = report.outcome == parity::Outcome::kPass;
  return std::string(is_pass && text_differs ? parity::outcome_name(parity::Outcome::kDiverged)
                                             : parity::outcome_name(report.outcome));
}

// One line for the port's record.
std::string figures_of(const parity::DiffReport& report,
                       const std::vector<parity::GreedyCheck>& greedy) {
  double worst = 0;
  std::string first;
  for (const parity::RunDiff& run : report.runs) {
    if (run.logits) worst = std::max(worst, run.logits->ratio);
    if (run.first_diverged < 0 || !first.empty()) continue;
    const auto at = static_cast<size_t>(run.first_diverged);
    first = at < run.taps.size() ? run.taps[at].key : "logits";
  }
  size_t n_tokens = 0;
  for (const parity::GreedyCheck& check : greedy) n_tokens += static_cast<size_t>(check.tokens);
  return fmt::format("{} runs, {} taps, logits at most {:.2f} times the floor, {} greedy tokens{}",
                     report.covered.runs, report.covered.taps, worst, n_tokens,
                     first.empty() ? "" : "; first diverged: " + first);
}

// The first tap that diverged, as a path; empty where none did.
std::string first_diverged(const parity::DiffReport& report) {
  for (const parity::RunDiff& run : report.runs) {
    if (run.first_diverged < 0) continue;
    const auto at = static_cast<size_t>(run.first_diverged);
    return at < run.taps.size() ? run.taps[at].port->info.path : "logits";
  }
  return {};
}

int verify(const VerifyOptions& options) {
  const std::string& truth = options.against.empty() ? options.reference : options.against;
  const parity::Recording reference = parity::read_recording(truth);
  Pipelines pipelines(options.model, reference);
  const ScratchFolder scratch;
  const std::filesystem::path folder =
      options.save.empty() ? scratch.dump() : std::filesystem::path(options.save);
  parity::DumpOptions dump_options;
  if (!options.save.empty()) {
    dump_options.greedy =
        parity::own_greedy(pipelines.all(), reference, pipelines.sequences());
  }
  parity::dump(pipelines.all(), pipelines.sequences(), dump_options, folder);
  const parity::Recording port = parity::read_recording(folder);
  ThreadPool pool(options.model.threads);
  parity::DiffOptions diff_options;
  diff_options.strict = options.strict;
  const parity::DiffReport report = parity::diff(reference, {}, port, diff_options, pool);
  const std::vector<parity::GreedyCheck> greedy =
      parity::check_greedy(pipelines.all(), reference, report);
  const bool text_differs = std::ranges::any_of(greedy, [](const parity::GreedyCheck& check) {
    return check.outcome == parity::GreedyCheck::Outcome::kDiffers;
  });
  options.model.record_run("verify", verdict_of(report, text_differs), figures_of(report, greedy));
  const Graph& graph = pipelines.all().front()->graph();
  const port::RunToRun since =
      run_to_run(options.model, pipelines.all().front()->model(), truth,
                 {"verify", verdict_of(report, text_differs), first_diverged(report), ""},
                 execution_order(graph));
  if (options.json) {
    nlohmann::json document = nlohmann::json::parse(parity::report_json(reference, port, report));
    document["greedy"] = greedy_json(greedy);
    if (text_differs && document["verdict"] == "pass") document["verdict"] = "diverged";
    document["since_last_run"] = run_to_run_json(since);
    fmt::print("{}\n", document.dump());
  } else {
    parity::ReportOptions report_options;
    report_options.colour = isatty(STDOUT_FILENO) != 0;
    fmt::print("{}{}", without_next(parity::report_text(reference, port, report, report_options)),
               parity::greedy_text(greedy));
    if (greedy.empty()) fmt::print("greedy: the reference recorded no text\n");
    if (text_differs) fmt::print("DIVERGED: the greedy text differs beyond the noise\n");
    if (!since.text.empty()) print_wrapped("since the last edit: ", since.text);
    if (!options.save.empty()) {
      print_wrapped("saved: ", fmt::format("{}; lockstep verify {} --against {} compares with it",
                                           options.save, options.model.model, options.save));
    }
    const bool passed = report.outcome == parity::Outcome::kPass && !text_differs;
    fmt::print("next: lockstep {} {}{}\n", passed ? "generate" : "isolate", options.model.model,
               passed ? " --prompt-ids 1,2,3" : " --reference " + truth);
  }
  if (report.outcome == parity::Outcome::kUndecided) return 2;
  return report.outcome == parity::Outcome::kPass && !text_differs ? 0 : 1;
}

}  // namespace

void add_verify(CLI::App& app, Action& action) {
  auto options = std::make_shared<VerifyOptions>();
  CLI::App* command = add_command(
      app, "verify", "The port against a recording of the reference: every tap, every step",
      "lockstep verify examples/storyteller --reference examples/storyteller/reference");
  options->model.add_to(*command);
  CLI::Option_group* with = command->add_option_group("with", "what the port is compared with");
  with->add_option("--reference", options->reference, "recording of the reference")
      ->type_name("REF");
  with->add_option("--against", options->against,
                   "what an earlier version, or another device, saved: no Python is needed")
      ->type_name("F");
  with->require_option(1);
  command->add_option("--save", options->save, "keep what was computed, for --against")
      ->type_name("F");
  command->add_option("--tier", options->tier, "6: parity per position; the only one there is")
      ->check(CLI::IsMember({6}));
  command->add_flag("--strict", options->strict, "diverged above 1.5 times the floor");
  command->add_flag("--json", options->json, "one JSON document on stdout");
  command->callback([options, &action] {
    action.json = options->json;
    action.run = [options] { return verify(*options); };
  });
}

}  // namespace lockstep::cli
