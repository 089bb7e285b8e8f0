// lockstep generate: text from a prompt or a user's message, or token ids from token ids; greedy
// unless a temperature is given.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>

#include "base/log.h"
#include "base/text.h"
#include "cli/command.h"
#include "cli/model_options.h"
#include "cli/prompt_options.h"
#include "runtime/sampler.h"
#include "text/detokenizer.h"

namespace lockstep::cli {
namespace {

struct GenerateOptions {
  ModelOptions model;
  PromptOptions prompt;
  int64_t max_tokens = 64;
  int64_t chunk = 0;
  double temperature = 0, repetition_penalty = 1;
  std::optional<int64_t> top_k;
  std::optional<double> top_p, min_p;
  std::optional<uint64_t> seed;
  bool ignore_eos = false;
  bool json = false;
};

// The model's own wishes hold for what is drawn and no flag says otherwise.
SamplingParams params_of(const GenerateOptions& options, const GenerationDefaults& defaults) {
  SamplingParams params;
  params.temperature = options.temperature;
  if (!params.is_greedy()) {
    params.top_k = options.top_k.value_or(defaults.params.top_k);
    params.top_p = options.top_p.value_or(defaults.params.top_p);
    params.min_p = options.min_p.value_or(defaults.params.min_p);
    std::random_device random;
    params.seed = options.seed.value_or(random());
    log_info(fmt::format("temperature {}, top_k {}, top_p {}, min_p {}, seed {}",
                         params.temperature, params.top_k, params.top_p, params.min_p,
                         *params.seed));
  }
  params.repetition_penalty = options.repetition_penalty;
  params.max_tokens = options.max_tokens;
  return params;
}

void require_valid(const SamplingParams& params, int64_t vocab_size) {
  std::optional<InvalidParameter> problem = check(params, vocab_size, 0);
  if (!problem) return;
  std::ranges::replace(problem->parameter, '_', '-');
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("--{}: {}", problem->parameter, problem->message));
}

// Where text is given, or wanted; in the latter case it may be missing.
std::optional<text::Tokenizer> open_tokenizer(const GenerateOptions& options,
                                              const std::filesystem::path& folder) {
  if (!options.prompt.is_text() && !options.json) return std::nullopt;
  try {
    return text::Tokenizer::open(folder);
  } catch (const Error& error) {
    if (options.prompt.is_text() || error.code() != ErrorCode::kNotFound) throw;
    return std::nullopt;
  }
}

// What comes out, token by token: text as it is settled, ids, or all of it at the end.
class Output {
 public:
  Output(const GenerateOptions& options, const std::optional<text::Tokenizer>& tokenizer)
      : options_(options) {
    if (tokenizer.has_value()) detokenizer_.emplace(*tokenizer, kDecoding);
  }

  void add(int32_t token, const PositionLogprobs& logprobs) {
    tokens_.push_back(token);
    const std::string text = detokenizer_.has_value() ? detokenizer_->push(token) : "";
    if (options_.json) {
      text_ += text;
      logprobs_.push_back(logprobs.chosen.logprob);
      return;
    }
    if (detokenizer_.has_value()) {
      fmt::print("{}", text);
    } else {
      fmt::print("{}{}", tokens_.size() == 1 ? "" : ",", token);
    }
    std::fflush(stdout);
  }
  void finish(const std::vector<int32_t>& prompt) {
    const std::string rest = detokenizer_.has_value() ? detokenizer_->finish() : "";
    if (!options_.json) {
      fmt::print("{}\n", rest);
      return;
    }
    const nlohmann::json document = {{"prompt_ids", prompt},
                                     {"tokens", tokens_},
                                     {"text", text_ + rest},
                                     {"logprobs", logprobs_}};
    fmt::print("{}\n", document.dump());
  }
  const std::vector<int32_t>& tokens() const noexcept { return tokens_; }

 private:
  static constexpr text::DecodeOptions kDecoding{.skip_special_tokens = true};
  const GenerateOptions& options_;
  std::optional<text::Detokenizer> detokenizer_;
  std::vector<int32_t> tokens_;
  std::vector<float> logprobs_;
  std::string text_;
};

// Row 0 of `logits`.
SampleJob sample(Sampler& sampler, const View& logits, TokenChoice& choice) {
  SampleJob job;
  job.choice = &choice;
  job.n_logprobs = 0;
  sampler.run(logits, {&job, 1});
  if (!job.token || !job.logprobs) {
    throw Error(ErrorCode::kFailedPrecondition,
                fmt::format("token {}: the logits are no numbers", choice.output().size() + 1),
                "look for the first tap that has NaN: lockstep dump MODEL --stats");
  }
  return job;
}

int generate(const GenerateOptions& options) {
  Model model = options.model.open();
  const std::optional<text::Tokenizer> tokenizer = open_tokenizer(options, model.files.folder);
  const std::vector<int32_t> prompt = options.prompt.encode(model.files.folder, tokenizer);
  PipelineOptions pipeline_options;
  pipeline_options.max_tokens = std::min<int64_t>(512, static_cast<int64_t>(prompt.size()));
  pipeline_options.max_logit_rows = 1;
  pipeline_options.max_context = static_cast<int64_t>(prompt.size()) + options.max_tokens;
  const std::unique_ptr<Pipeline> started = options.model.start(std::move(model), pipeline_options);
  Pipeline& pipeline = *started;
  const int64_t max_length = pipeline.model().max_length;
  if (max_length > 0 && pipeline_options.max_context > max_length) {
    log_warn(fmt::format("{} tokens asked for; the model was made for {} (max_position_embeddings)",
                         pipeline_options.max_context, max_length));
  }
  const ModelFiles& files = pipeline.model().files;
  const GenerationDefaults defaults = read_generation_defaults(files.folder, files.config);
  const std::vector<int32_t> ends =
      options.ignore_eos ? std::vector<int32_t>{} : defaults.eos_token_ids;
  const SamplingParams params = params_of(options, defaults);
  require_valid(params, pipeline.vocab_size());

  Output output(options, tokenizer);
  const std::vector<int32_t>& tokens = output.tokens();
  Sampler sampler(pipeline.vocab_size(), pipeline.context().pool);
  TokenChoice choice(params, prompt, {}, 0, nullptr);
  Sequence sequence;
  const auto begin = std::chrono::steady_clock::now();
  View logits = pipeline.prefill(sequence, prompt, options.chunk);
  while (static_cast<int64_t>(tokens.size()) < options.max_tokens) {
    const SampleJob chosen = sample(sampler, logits, choice);
    choice.accept(*chosen.token);
    output.add(*chosen.token, *chosen.logprobs);
    if (std::ranges::find(ends, tokens.back()) != ends.end()) break;
    if (static_cast<int64_t>(tokens.size()) == options.max_tokens) break;
    const Segment segment{&sequence, {&tokens.back(), 1}, LogitRows::kLast};
    logits = pipeline.step({&segment, 1});
  }
  output.finish(prompt);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  options.model.record_run(
      "generate", "",
      fmt::format("{} of {} prompt ids, {}, {:.1f} tokens/s", counted(tokens.size(), "token"),
                  prompt.size(), dtype_name(pipeline.graph().activation_dtype),
                  static_cast<double>(tokens.size()) / seconds.count()));
  return 0;
}

}  // namespace

void add_generate(CLI::App& app, Action& action) {
  auto options = std::make_shared<GenerateOptions>();
  CLI::App* command = add_command(
      app, "generate", "Text, or token ids, as they come; greedy unless --temperature is given",
      "lockstep generate examples/storyteller --chat \"What is the capital of Italy?\"");
  options->model.add_to(*command);
  CLI::Option_group* prompt = command->add_option_group("Prompt");
  options->prompt.add_to(*prompt);
  prompt->require_option(1);
  command->add_option("--max-tokens", options->max_tokens, "tokens to generate")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24));
  command->add_option("--chunk", options->chunk, "feed the prompt in chunks of this size")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24));
  CLI::Option* temperature =
      command->add_option("--temperature", options->temperature, "draw tokens; 0: the likeliest")
          ->capture_default_str();
  const char* const own = " (default: the model's generation_config.json)";
  command->add_option("--top-k", options->top_k, fmt::format("of the K likeliest{}", own))
      ->needs(temperature);
  command->add_option("--top-p", options->top_p, fmt::format("of the likeliest, P in sum{}", own))
      ->needs(temperature);
  command
      ->add_option("--min-p", options->min_p,
                   fmt::format("of those at least P times the likeliest{}", own))
      ->needs(temperature);
  command
      ->add_option("--repetition-penalty", options->repetition_penalty,
                   "divides the positive logits of tokens that were there, multiplies the others")
      ->capture_default_str();
  command->add_option("--seed", options->seed, "the same seed draws the same tokens");
  command->add_flag("--ignore-eos", options->ignore_eos, "go on after an end token");
  command->add_flag("--json", options->json, "one JSON document on stdout");
  command->callback([options, &action] {
    action.json = options->json;
    action.run = [options] { return generate(*options); };
  });
}

}  // namespace lockstep::cli
