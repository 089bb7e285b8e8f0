// lockstep compare: any server of the OpenAI API against the reference.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "base/log.h"
#include "cli/command.h"
#include "cli/model_options.h"
#include "cli/prompt_options.h"
#include "cli/recorder.h"
#include "cli/scratch_folder.h"
#include "cli/server_options.h"
#include "hub/checkpoint.h"
#include "hub/config.h"
#include "hub/tensor_list.h"
#include "lockstep/error.h"
#include "parity/served.h"
#include "parity/served_layers.h"
#include "port/checkpoint_checks.h"

namespace lockstep::cli {
namespace {

struct CompareOptions {
  std::string model, slug, reference, python, output, positions, dtype;
  std::optional<std::string> prompt, long_prompt;
  ServerOptions server;
  bool skip_hf_layers = false, skip_multi = false, json = false;
};

// What is recorded where no prompt is given: short, and longer than the last position.
constexpr const char* kPrompt = "The capital of France is";
constexpr const char* kLongPrompt =
    "The old lighthouse stood at the end of a narrow road, and every evening its keeper climbed "
    "the ninety steps to light the lamp. One winter a ship lost its way in the fog. The keeper "
    "heard the bell long before he saw the hull, and he rang his own in answer, three strokes and "
    "a pause, until the captain understood and turned back towards the open sea. Years later a "
    "letter came from a city far away. It said only that the captain's daughter was learning to "
    "read, and that the first word she had asked for was lamp. He put it into the drawer with the "
    "others, 47 by now, and went up early. There was work to do: the glass had to be cleaned, the "
    "oil measured, the log written. At 18:30 the wind turned to the north-west; at 19:15 he noted "
    "two lights on the horizon, then three. A storm was coming, and he knew what that meant for "
    "the boats that were still out. He lit the lamp an hour before its time, and sat down to wait. "
    "Below him the village was dark but for one window, where somebody else was waiting too, and "
    "neither of them would have said so to";

// The checkpoint's own type, which is what servers compute in unless told otherwise.
std::string served_dtype(const CompareOptions& options, const ConfigFile& config) {
  if (!options.dtype.empty()) return options.dtype;
  std::string found;
  if (config.kind("dtype") == ConfigFile::Kind::kString) {
    found = config.get_string("dtype");
  } else {
    found = dtype_name(
        port::dominant_dtype(list_tensors(options.model, HubSettings::for_model(options.model))));
  }
  return found == "bfloat16" || found == "float16" ? found : "float32";
}

void record(const CompareOptions& options, const std::string& dtype, const std::string& folder) {
  ReferenceFlags flags;
  flags.model = options.model;
  flags.output = folder;
  flags.python = options.python;
  flags.dtypes = {"float32"};
  if (dtype != "float32") flags.dtypes.push_back(dtype);
  flags.ordered = {{"--prompt", options.prompt.value_or(kPrompt)}};
  if (!options.skip_multi) {
    flags.ordered.emplace_back("--prompt", options.long_prompt.value_or(kLongPrompt));
  }
  // '' stands for the logits alone.
  flags.taps_given = options.skip_hf_layers;
  run_recorder(flags);
}

std::vector<int64_t> encode(const CompareOptions& options, const char* flag,
                            const std::string& text,
                            const std::optional<text::Tokenizer>& tokenizer) {
  if (!tokenizer.has_value()) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("{}: {} has no tokenizer to encode it with", flag, options.model),
                "leave it out: the recording's own prompts are compared");
  }
  const std::vector<int32_t> ids = tokenizer->encode(text);
  if (ids.empty()) {
    throw Error(ErrorCode::kInvalidArgument, fmt::format("{}: the text has no tokens", flag));
  }
  return {ids.begin(), ids.end()};
}

// The ids of the recording's prompt `ordinal`: of prompts that were just recorded.
std::vector<int64_t> recorded_ids(const parity::Recording& recording, int ordinal) {
  for (const parity::Run& run : recording.runs) {
    if (run.info.prompt == ordinal && run.info.phase == parity::Phase::kPrefill) {
      return run.info.prompt_ids;
    }
  }
  return {};
}

parity::ServedOptions probes(const CompareOptions& options, const parity::Recording& recording,
                             const std::optional<text::Tokenizer>& tokenizer) {
  parity::ServedOptions probes;
  if (!options.python.empty()) {
    probes.prompts = {recorded_ids(recording, 0)};
    if (!options.skip_multi) probes.long_prompt = recorded_ids(recording, 1);
  } else {
    if (options.prompt) probes.prompts = {encode(options, "--prompt", *options.prompt, tokenizer)};
    if (options.long_prompt) {
      probes.long_prompt = encode(options, "--long-prompt", *options.long_prompt, tokenizer);
    }
  }
  if (!options.positions.empty()) {
    const std::vector<int32_t> asked = parse_ids("--positions", options.positions);
    probes.positions.assign(asked.begin(), asked.end());
    if (std::ranges::min(asked) < 1) {
      throw Error(ErrorCode::kInvalidArgument,
                  "--positions: expected lengths of 1 token or more, found " + options.positions);
    }
  }
  if (options.skip_multi) probes.positions.clear();
  return probes;
}

std::optional<text::Tokenizer> open_tokenizer(const std::filesystem::path& folder) {
  try {
    return text::Tokenizer::open(folder);
  } catch (const Error& error) {
    log_warn(fmt::format("{}: tokens are shown as ids", error.message()));
    return std::nullopt;
  }
}

void expect_same_model(const CompareOptions& options, const ConfigFile& config,
                       const parity::Recording& recording) {
  if (recording.architecture.empty() ||
      config.kind("architectures.0") != ConfigFile::Kind::kString) {
    return;
  }
  const std::string& expected = config.get_string("architectures.0");
  if (expected == recording.architecture) return;
  throw Error(ErrorCode::kFailedPrecondition,
              fmt::format("{}: expected a recording of {}, found one of {}", options.reference,
                          expected, recording.architecture),
              "record this model: lockstep reference " + options.model + " --output REF");
}

void expect_usage(const CompareOptions& options) {
  if (options.reference.empty() == options.python.empty()) {
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("expected one of --reference and --python, found {}",
                    options.reference.empty() ? "neither" : "both"),
        fmt::format("lockstep reference {} --output REF records the reference", options.model));
  }
  if (!options.output.empty() && options.python.empty()) {
    throw Error(ErrorCode::kInvalidArgument, "--output: nothing is recorded without --python");
  }
}

std::string next_step(const CompareOptions& options, const parity::ServedReport& report) {
  switch (report.outcome) {
    case parity::Outcome::kPass:
      return fmt::format("lockstep bench serve --base-url {}", report.url);
    case parity::Outcome::kDiverged: {
      const std::string kept = options.output.empty() ? options.reference : options.output;
      return fmt::format("lockstep verify {} --reference {}", options.model,
                         kept.empty() ? "REF" : kept);
    }
    case parity::Outcome::kUndecided:
      break;
  }
  return "make the server answer what stands under \"not covered\", then run compare again";
}

int compare(CompareOptions options) {
  expect_usage(options);
  client::ApiClient api(options.server.target());
  const std::string name = api.model_name(options.slug);
  const std::filesystem::path folder = find_model_folder(options.model);
  const ConfigFile config = ConfigFile::load(folder / "config.json");
  const std::string dtype = served_dtype(options, config);
  const ScratchFolder scratch;
  if (!options.python.empty()) {
    options.reference = options.output.empty() ? scratch.dump().string() : options.output;
    record(options, dtype, options.reference);
  }
  const parity::Recording recording = parity::read_recording(options.reference);
  expect_same_model(options, config, recording);
  const std::optional<text::Tokenizer> tokenizer = open_tokenizer(folder);
  parity::ServedTokens tokens(tokenizer.has_value() ? &*tokenizer : nullptr);
  parity::ServedOptions asked = probes(options, recording, tokenizer);
  asked.dtype = dtype;
  const parity::ServedReport report = parity::compare_served(api, name, recording, asked, tokens);
  std::vector<parity::LayerFigures> layers;
  if (!options.skip_hf_layers) layers = parity::layer_figures(recording, report.run);
  if (options.json) {
    fmt::print("{}\n", parity::served_json(report, layers));
  } else {
    fmt::print("{}", parity::served_text(report, tokens));
    // They are what to look at next, where something is wrong.
    if (report.outcome == parity::Outcome::kDiverged) fmt::print("{}", parity::layers_text(layers));
    fmt::print("next: {}\n", next_step(options, report));
  }
  if (report.outcome == parity::Outcome::kUndecided) return 2;
  return report.outcome == parity::Outcome::kPass ? 0 : 1;
}

}  // namespace

void add_compare(CLI::App& app, Action& action) {
  auto options = std::make_shared<CompareOptions>();
  CLI::App* command =
      add_command(app, "compare", "A running server of the OpenAI API against the reference",
                  "lockstep compare examples/storyteller --port 8000 --reference "
                  "examples/storyteller/reference");
  command->add_option("MODEL", options->model, "folder in Hugging Face layout, or a Hub id")
      ->required();
  command
      ->add_option("--slug", options->slug,
                   "what the server calls the model (default: the first that it lists)")
      ->type_name("S");
  options->server.add_to(*command);
  command->add_option("--reference", options->reference, "recording of the reference")
      ->type_name("REF");
  command->add_option("--python", options->python, "record the reference now, with this Python")
      ->type_name("P");
  command->add_option("--output", options->output, "with --python: keep the recording here")
      ->type_name("DIR");
  command->add_option("--prompt", options->prompt, "compare what follows this text")
      ->type_name("T");
  command
      ->add_option("--long-prompt", options->long_prompt,
                   "compare what follows prefixes of this text (default: the longest recorded)")
      ->type_name("T");
  command
      ->add_option("--positions", options->positions,
                   "lengths of those prefixes in tokens (default: 1,5,20,50,100,200)")
      ->type_name("1,5,..");
  command
      ->add_option("--dtype", options->dtype,
                   "what the server computes in (default: what config.json says)")
      ->check(CLI::IsMember({"float32", "bfloat16", "float16"}));
  command->add_flag("--skip-hf-layers", options->skip_hf_layers,
                    "leave the reference's layers out: nothing but logits is recorded or shown");
  command->add_flag("--skip-multi", options->skip_multi, "leave the prefixes out");
  command->add_flag("--json", options->json, "one JSON document on stdout");
  command->callback([options, &action] {
    action.json = options->json;
    action.run = [options] { return compare(*options); };
  });
}

}  // namespace lockstep::cli
