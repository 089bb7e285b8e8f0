// lockstep isolate: each value on the reference's own inputs; sources against carriers.
#include "parity/isolate.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/model_options.h"
#include "cli/pipelines.h"
#include "cli/run_to_run.h"

namespace lockstep::cli {
namespace {

using parity::IsolatedTap;

struct IsolateFlags {
  ModelOptions model;
  std::string reference;
  bool all = false;
  bool json = false;
};

const char* verdict_name(IsolatedTap::Verdict verdict) {
  switch (verdict) {
    case IsolatedTap::Verdict::kClean:
      return "clean";
    case IsolatedTap::Verdict::kSource:
      return "SOURCE";
    case IsolatedTap::Verdict::kCarrier:
      return "carrier";
  }
  return "";
}

void print_table(const parity::IsolateReport& report, bool all) {
  std::string run;
  size_t n_clean = 0;
  for (const IsolatedTap& tap : report.taps) {
    const bool clean = tap.verdict == IsolatedTap::Verdict::kClean;
    n_clean += clean;
    if (clean && !all) continue;
    if (tap.run != run) {
      run = tap.run;
      fmt::print("{}\n  {:<46} {:>9} {:>11} {:>8}  {}\n", run, "tap", "isolated", "accumulated",
                 "bar", "verdict");
    }
    std::string path = tap.path;
    if (path.size() > 46) path = "..." + path.substr(path.size() - 43);
    fmt::print("  {:<46} {:>9.2g} {:>11.2g} {:>8.1g}  {}\n", path, tap.isolated, tap.accumulated,
               tap.bar, verdict_name(tap.verdict));
    if (tap.verdict == IsolatedTap::Verdict::kSource) fmt::print("    of {}\n", tap.ops);
  }
  if (!all) fmt::print("{} values are clean (--all shows them)\n", n_clean);
}

int isolate(const IsolateFlags& flags) {
  if (flags.model.n_ranks() > 1) {
    throw Error(ErrorCode::kInvalidArgument,
                "--devices: isolate replays on one device, found " + flags.model.devices,
                "dump with --devices and diff show what a division changes");
  }
  const parity::Recording reference = parity::read_recording(flags.reference);
  const Pipelines pipelines(flags.model, reference);
  parity::IsolateReport report;
  for (Pipeline* pipeline : pipelines.all()) {
    parity::IsolateReport part = parity::isolate(*pipeline, reference);
    std::ranges::move(part.taps, std::back_inserter(report.taps));
    std::ranges::move(part.not_replayed, std::back_inserter(report.not_replayed));
  }
  const int status = report.taps.empty() ? 2 : report.sound() ? 0 : 1;
  constexpr const char* kVerdicts[] = {"pass", "diverged", "undecided"};
  std::vector<std::string> order;
  std::string first;
  for (const IsolatedTap& tap : report.taps) {
    order.push_back(tap.path);
    if (first.empty() && tap.verdict == IsolatedTap::Verdict::kSource) first = tap.path;
  }
  const port::RunToRun since =
      run_to_run(flags.model, pipelines.all().front()->model(), flags.reference,
                 {"isolate", kVerdicts[status], first, ""}, order);
  if (flags.json) {
    nlohmann::json findings = nlohmann::json::array();
    for (const IsolatedTap& tap : report.taps) {
      findings.push_back({{"run", tap.run},
                          {"path", tap.path},
                          {"class", tap.module_class},
                          {"ops", tap.ops},
                          {"isolated", tap.isolated},
                          {"accumulated", tap.accumulated},
                          {"bar", tap.bar},
                          {"verdict", verdict_name(tap.verdict)}});
    }
    fmt::print("{}\n", nlohmann::json{{"verdict", kVerdicts[status]},
                                      {"covered", {{"values", report.taps.size()}}},
                                      {"not_covered", report.not_replayed},
                                      {"since_last_run", run_to_run_json(since)},
                                      {"findings", findings}}
                           .dump());
    return status;
  }
  print_table(report, flags.all);
  if (!report.not_replayed.empty()) {
    fmt::print("not replayed: {}\n", report.not_replayed.size());
    for (size_t i = 0; i < std::min<size_t>(4, report.not_replayed.size()); ++i) {
      fmt::print("  - {}\n", report.not_replayed[i]);
    }
  }
  fmt::print("{}: {} values replayed\n",
             status == 0   ? "NO SOURCE"
             : status == 1 ? "SOURCES FOUND"
                           : "UNDECIDED",
             report.taps.size());
  if (!since.text.empty()) print_wrapped("since the last edit: ", since.text);
  return status;
}

}  // namespace

void add_isolate(CLI::App& app, Action& action) {
  auto flags = std::make_shared<IsolateFlags>();
  CLI::App* command = add_command(
      app, "isolate", "Each value on the reference's own inputs: sources against carriers",
      "lockstep isolate examples/storyteller --reference examples/storyteller/golden");
  flags->model.add_to(*command);
  command->add_option("--reference", flags->reference, "recording of the reference")
      ->required()
      ->type_name("REF");
  command->add_flag("--all", flags->all, "clean values too");
  command->add_flag("--json", flags->json, "one JSON document on stdout");
  command->callback([flags, &action] {
    action.json = flags->json;
    action.run = [flags] { return isolate(*flags); };
  });
}

}  // namespace lockstep::cli
