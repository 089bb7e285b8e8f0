// lockstep dump: what the port computes, tap by tap, as a folder that `lockstep diff` reads.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/model_options.h"
#include "lockstep/error.h"
#include "parity/dump.h"

namespace lockstep::cli {
namespace {

struct DumpOptions {
  ModelOptions model;
  parity::DumpRequest request;
  std::string prompt_ids;
  std::string output;
  bool inputs = false;
  bool stats = false;
  bool json = false;
};

void print_stats(const std::vector<parity::TapStats>& all) {
  fmt::print("{:<58} {:>11} {:>11} {:>11}\n", "tap", "mean", "max abs", "norm");
  for (const parity::TapStats& tap : all) {
    std::string path = tap.path;
    if (path.size() > 58) path = "..." + path.substr(path.size() - 55);
    fmt::print("{:<58} {:>11.4g} {:>11.4g} {:>11.4g}{}\n", path, tap.mean, tap.max_abs, tap.norm,
               tap.non_finite == 0 ? "" : fmt::format("  {} not finite", tap.non_finite));
  }
}

nlohmann::json stats_json(const std::vector<parity::TapStats>& all) {
  nlohmann::json taps = nlohmann::json::array();
  for (const parity::TapStats& tap : all) {
    taps.push_back({{"path", tap.path},
                    {"shape", tap.shape},
                    {"mean", tap.mean},
                    {"max_abs", tap.max_abs},
                    {"norm", tap.norm},
                    {"non_finite", tap.non_finite}});
  }
  return taps;
}

int dump(DumpOptions& options) {
  if (options.output.empty() && !options.stats) {
    throw Error(ErrorCode::kInvalidArgument, "dump: expected --output DIR, or --stats, or both",
                "for example: lockstep dump MODEL --prompt-ids 1,2,3 --output /tmp/dump");
  }
  options.request.prompt_ids = parse_ids("--prompt-ids", options.prompt_ids);
  options.request.inputs = options.inputs ? TapInputs::kYes : TapInputs::kNo;
  const auto n = static_cast<int64_t>(options.request.prompt_ids.size());
  PipelineOptions pipeline_options;
  pipeline_options.max_tokens = std::min<int64_t>(512, n);
  pipeline_options.max_logit_rows = pipeline_options.max_tokens;
  pipeline_options.max_context = n;
  pipeline_options.threads = options.model.threads;
  pipeline_options.kernels = KernelPolicy::from_environment();
  Pipeline pipeline(options.model.open(), pipeline_options);
  std::optional<std::filesystem::path> folder;
  if (!options.output.empty()) folder = options.output;
  const std::vector<parity::TapStats> stats = parity::dump(pipeline, options.request, folder);
  if (options.json) {
    fmt::print("{}\n", nlohmann::json{{"output", options.output},
                                      {"tokens", n},
                                      {"taps", stats_json(stats)}}
                           .dump());
    return 0;
  }
  if (options.stats) print_stats(stats);
  if (folder) {
    fmt::print("{} taps of {} tokens in {}\n", stats.size(), n, options.output);
    fmt::print("next: lockstep diff REFERENCE {}\n", options.output);
  }
  return 0;
}

}  // namespace

void add_dump(CLI::App& app, Action& action) {
  auto options = std::make_shared<DumpOptions>();
  CLI::App* command = add_command(
      app, "dump", "Record what the port computes, tap by tap",
      "lockstep dump examples/storyteller --prompt-ids 591,283,298,682,273 --output /tmp/dump");
  options->model.add_to(*command);
  command->add_option("--output", options->output, "folder to write")->type_name("DIR");
  command->add_option("--prompt-ids", options->prompt_ids, "token ids, separated by commas")
      ->required();
  command->add_option("--taps", options->request.taps,
                      "pattern over module paths; '' for the logits alone")
      ->capture_default_str()
      ->type_name("GLOB");
  command->add_flag("--inputs", options->inputs, "also the inputs of every module");
  command->add_option("--prefill", options->request.prefill,
                      "tokens fed at once, the rest one by one (default: all at once)");
  command->add_option("--chunk", options->request.chunk, "feed the prefill in chunks of this size");
  command->add_flag("--stats", options->stats, "print mean, max abs and norm of every tap");
  command->add_flag("--json", options->json, "one JSON document on stdout");
  command->callback([options, &action] {
    action.json = options->json;
    action.run = [options] { return dump(*options); };
  });
}

}  // namespace lockstep::cli
