// lockstep generate: greedy text from prompt ids.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "cli/command.h"
#include "cli/model_options.h"

namespace lockstep::cli {
namespace {

struct GenerateOptions {
  ModelOptions model;
  std::string prompt_ids;
  int64_t max_tokens = 64;
  int64_t chunk = 0;
  bool ignore_eos = false;
  bool json = false;
};

// generation_config.json decides, as in transformers; config.json where it is absent.
std::vector<int32_t> end_tokens(const ModelFiles& files) {
  const std::filesystem::path path = files.folder / "generation_config.json";
  std::optional<ConfigFile> generation;
  if (std::filesystem::exists(path)) generation = ConfigFile::load(path);
  const ConfigFile* const sources[] = {generation ? &*generation : nullptr, &files.config};
  for (const ConfigFile* config : sources) {
    if (config == nullptr) continue;
    if (config->kind("eos_token_id") == ConfigFile::Kind::kInt) {
      return {static_cast<int32_t>(config->get_int("eos_token_id"))};
    }
    if (config->kind("eos_token_id") != ConfigFile::Kind::kArray) continue;
    std::vector<int32_t> ids;
    for (size_t i = 0; i < config->length("eos_token_id"); ++i) {
      ids.push_back(static_cast<int32_t>(config->get_int(fmt::format("eos_token_id.{}", i))));
    }
    return ids;
  }
  return {};
}

// log softmax of row 0 at `token`, in double from the raw logits.
double logprob(const View& logits, int32_t token) {
  const int64_t n = logits.dim(-1);
  double most = -INFINITY;
  for (int64_t i = 0; i < n; ++i) {
    most = std::max(most, load_element(logits.data, logits.dtype, i));
  }
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    sum += std::exp(load_element(logits.data, logits.dtype, i) - most);
  }
  return load_element(logits.data, logits.dtype, token) - most - std::log(sum);
}

int generate(const GenerateOptions& options) {
  const std::vector<int32_t> prompt = parse_ids("--prompt-ids", options.prompt_ids);
  PipelineOptions pipeline_options;
  pipeline_options.max_tokens = std::min<int64_t>(512, static_cast<int64_t>(prompt.size()));
  pipeline_options.max_logit_rows = 1;
  pipeline_options.max_context = static_cast<int64_t>(prompt.size()) + options.max_tokens;
  const std::unique_ptr<Pipeline> opened = options.model.open_pipeline(pipeline_options);
  Pipeline& pipeline = *opened;
  const int64_t max_length = pipeline.model().max_length;
  if (max_length > 0 && pipeline_options.max_context > max_length) {
    log_warn(fmt::format("{} tokens asked for; the model was made for {} (max_position_embeddings)",
                         pipeline_options.max_context, max_length));
  }
  const std::vector<int32_t> ends =
      options.ignore_eos ? std::vector<int32_t>{} : end_tokens(pipeline.model().files);

  std::vector<int32_t> tokens;
  std::vector<double> logprobs;
  Sequence sequence;
  View logits = pipeline.prefill(sequence, prompt, options.chunk);
  while (static_cast<int64_t>(tokens.size()) < options.max_tokens) {
    tokens.push_back(argmax(logits, 0));
    if (options.json) {
      logprobs.push_back(logprob(logits, tokens.back()));
    } else {
      fmt::print("{}{}", tokens.size() == 1 ? "" : ",", tokens.back());
      std::fflush(stdout);
    }
    if (std::ranges::find(ends, tokens.back()) != ends.end()) break;
    if (static_cast<int64_t>(tokens.size()) == options.max_tokens) break;
    const Segment segment{&sequence, {&tokens.back(), 1}, LogitRows::kLast};
    logits = pipeline.step({&segment, 1});
  }
  if (options.json) {
    const nlohmann::json document = {
        {"prompt_ids", prompt}, {"tokens", tokens}, {"text", ""}, {"logprobs", logprobs}};
    fmt::print("{}\n", document.dump());
  } else {
    fmt::print("\n");
  }
  return 0;
}

}  // namespace

void add_generate(CLI::App& app, Action& action) {
  auto options = std::make_shared<GenerateOptions>();
  CLI::App* command = add_command(
      app, "generate", "Greedy generation; prints token ids as they come",
      "lockstep generate examples/storyteller --prompt-ids 591,283,298,682,273 --max-tokens 24");
  options->model.add_to(*command);
  command->add_option("--prompt-ids", options->prompt_ids, "token ids, separated by commas")
      ->required();
  command->add_option("--max-tokens", options->max_tokens, "tokens to generate")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24));
  command->add_option("--chunk", options->chunk, "feed the prompt in chunks of this size")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24));
  command->add_flag("--ignore-eos", options->ignore_eos, "go on after an end token");
  command->add_flag("--json", options->json, "one JSON document on stdout");
  command->callback([options, &action] {
    action.json = options->json;
    action.run = [options] { return generate(*options); };
  });
}

}  // namespace lockstep::cli
