// lockstep dump: what the port computes, tap by tap, as a folder that `lockstep diff` reads.
#include "parity/dump.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/command.h"
#include "cli/model_options.h"
#include "cli/pipelines.h"
#include "cli/prompt_options.h"
#include "lockstep/error.h"

namespace lockstep::cli {
namespace {

struct DumpFlags {
  ModelOptions model;
  parity::DumpOptions options;
  PromptOptions prompt;
  std::string like;
  std::string output;
  int64_t prefill = 0, chunk = 0;
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

// The whole of a prompt, as one run.
std::vector<parity::TapStats> dump_prompt(const DumpFlags& flags,
                                          const std::optional<std::filesystem::path>& folder) {
  Model model = flags.model.open();
  std::optional<text::Tokenizer> tokenizer;
  if (flags.prompt.is_text()) tokenizer = text::Tokenizer::open(model.files.folder);
  const std::vector<int32_t> ids = flags.prompt.encode(model.files.folder, tokenizer);
  const auto n = static_cast<int64_t>(ids.size());
  PipelineOptions options;
  options.max_tokens = std::min<int64_t>(512, n);
  options.max_logit_rows = options.max_tokens;
  options.max_context = n;
  const std::unique_ptr<Pipeline> pipeline = flags.model.start(std::move(model), options);
  const DType dtype = pipeline->graph().activation_dtype;
  return parity::dump(
      {pipeline.get()},
      {parity::plan_prompt(dtype, ids, flags.prefill, flags.chunk, options.max_tokens)},
      flags.options, folder);
}

// The runs of a recording: every prompt, dtype and decode step it has.
std::vector<parity::TapStats> dump_like(const DumpFlags& flags,
                                        const std::optional<std::filesystem::path>& folder) {
  const parity::Recording reference = parity::read_recording(flags.like);
  const Pipelines pipelines(flags.model, reference);
  return parity::dump(pipelines.all(), pipelines.sequences(), flags.options, folder);
}

int dump(DumpFlags& flags) {
  if (flags.output.empty() && !flags.stats) {
    throw Error(ErrorCode::kInvalidArgument, "dump: expected --output DIR, or --stats, or both",
                "for example: lockstep dump MODEL --prompt-ids 1,2,3 --output /tmp/dump");
  }
  flags.options.inputs = flags.inputs ? TapInputs::kYes : TapInputs::kNo;
  std::optional<std::filesystem::path> folder;
  if (!flags.output.empty()) folder = flags.output;
  const std::vector<parity::TapStats> stats =
      flags.like.empty() ? dump_prompt(flags, folder) : dump_like(flags, folder);
  flags.model.record_run(
      "dump", "",
      fmt::format("{} taps a run{}", stats.size(), folder ? " in " + flags.output : std::string()));
  if (flags.json) {
    fmt::print("{}\n",
               nlohmann::json{{"output", flags.output}, {"taps", stats_json(stats)}}.dump());
    return 0;
  }
  if (flags.stats) print_stats(stats);
  if (folder) {
    fmt::print("{} taps a run in {}\n", stats.size(), flags.output);
    fmt::print("next: lockstep diff {} {}\n", flags.like.empty() ? "REFERENCE" : flags.like,
               flags.output);
  }
  return 0;
}

}  // namespace

void add_dump(CLI::App& app, Action& action) {
  auto flags = std::make_shared<DumpFlags>();
  CLI::App* command = add_command(
      app, "dump", "Record what the port computes, tap by tap",
      "lockstep dump examples/storyteller --prompt \"The capital of Italy is\" --output /tmp/dump");
  flags->model.add_to(*command);
  command->add_option("--output", flags->output, "folder to write")->type_name("DIR");
  CLI::Option_group* prompt = command->add_option_group("Prompt", "one of");
  flags->prompt.add_to(*prompt);
  prompt->add_option("--like", flags->like, "the prompts, dtypes and steps of a recording")
      ->type_name("REF");
  prompt->require_option(1);
  command
      ->add_option("--taps", flags->options.taps,
                   "pattern over module paths; '' for the logits alone")
      ->capture_default_str()
      ->type_name("GLOB");
  command->add_flag("--inputs", flags->inputs, "also the inputs of every module");
  command->add_option("--prefill", flags->prefill,
                      "tokens fed at once, the rest one by one (default: all at once)");
  command->add_option("--chunk", flags->chunk, "feed the prefill in chunks of this size");
  command->add_flag("--stats", flags->stats, "print mean, max abs and norm of every tap");
  command->add_flag("--json", flags->json, "one JSON document on stdout");
  command->callback([flags, &action] {
    action.json = flags->json;
    action.run = [flags] { return dump(*flags); };
  });
}

}  // namespace lockstep::cli
