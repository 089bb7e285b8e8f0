// `lockstep diff`: two recordings side by side, and a verdict.
#include "parity/diff.h"

#include <unistd.h>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "cli/command.h"
#include "lockstep/error.h"
#include "parity/html/diff_page.h"
#include "parity/report.h"

namespace lockstep::cli {
namespace {

struct DiffFlags {
  std::string reference, port;
  std::vector<std::string> floors;
  std::string html;
  parity::DiffOptions options;
  parity::ReportOptions report;
  int64_t token = -1;
  int threads = 0;
};

int run_diff(DiffFlags& flags, bool json) {
  const parity::Recording reference = parity::read_recording(flags.reference);
  const parity::Recording port = parity::read_recording(flags.port);
  std::vector<parity::Recording> more;
  for (const std::string& path : flags.floors) more.push_back(parity::read_recording(path));
  std::vector<const parity::Recording*> floors;
  for (const parity::Recording& recording : more) floors.push_back(&recording);
  if (flags.token >= 0) flags.report.token = flags.token;
  flags.options.keep_tokens = flags.report.token || flags.report.per_token || !flags.html.empty();
  flags.options.keep_channels = flags.report.per_channel;
  flags.report.colour = isatty(STDOUT_FILENO) != 0;
  ThreadPool pool(flags.threads);
  const parity::DiffReport report = parity::diff(reference, floors, port, flags.options, pool);
  if (!flags.html.empty()) {
    AtomicFile file(flags.html);
    file.write(parity::diff_page(reference, port, report));
    file.commit();
  }
  const std::string text = json ? parity::report_json(reference, port, report)
                                : parity::report_text(reference, port, report, flags.report);
  std::fwrite(text.data(), 1, text.size(), stdout);
  if (flags.options.validate_only) return report.valid ? 0 : 2;
  switch (report.outcome) {
    case parity::Outcome::kPass:
      return 0;
    case parity::Outcome::kDiverged:
      return 1;
    case parity::Outcome::kUndecided:
      break;
  }
  return 2;
}

}  // namespace

void add_diff(CLI::App& app, Action& action) {
  CLI::App* command =
      add_command(app, "diff", "compare a port's recording with the reference's, tap by tap",
                  "lockstep diff reference/ port/\n"
                  "lockstep diff reference/ port/ --taps 'model.layers.3.*' --all --per-token");
  auto flags = std::make_shared<DiffFlags>();
  command->add_option("reference", flags->reference, "the reference's recording")->required();
  command->add_option("port", flags->port, "the port's recording, or another port's")->required();
  command->add_option("--floor", flags->floors,
                      "another recording of the reference (dtype, attention, device) that the "
                      "noise floor is measured from as well; may be repeated");
  command->add_flag("--validate", flags->options.validate_only,
                    "check that both recordings can be compared, and stop there");
  command->add_flag("--strict", flags->options.strict, "diverged above 1.5 times the floor");
  command->add_option("--taps", flags->options.taps, "only taps that match a glob");
  command->add_option("--skip", flags->options.skip, "no tap that matches a glob");
  command->add_option("--token-index", flags->token, "relative L2 of this token in the table")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--per-token", flags->report.per_token, "differing taps token by token");
  command->add_flag("--per-channel", flags->report.per_channel,
                    "differing taps, channels that differ most");
  command->add_flag("--all", flags->report.all, "every tap in the table");
  command->add_option("--html", flags->html, "also write one HTML file")->type_name("F");
  command->add_option("--threads", flags->threads, "worker threads; 0 means one per core")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--json", action.json, "one JSON document on stdout");
  command->callback([flags, &action] {
    action.run = [flags, &action] { return run_diff(*flags, action.json); };
  });
}

}  // namespace lockstep::cli
