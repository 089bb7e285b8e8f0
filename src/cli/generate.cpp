// lockstep generate: greedy text from a prompt or a user's message, or token ids from token ids.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "base/text.h"
#include "cli/command.h"
#include "cli/model_options.h"
#include "cli/prompt_options.h"
#include "text/detokenizer.h"

namespace lockstep::cli {
namespace {

struct GenerateOptions {
  ModelOptions model;
  PromptOptions prompt;
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

  void add(int32_t token, const View& logits) {
    tokens_.push_back(token);
    const std::string text = detokenizer_.has_value() ? detokenizer_->push(token) : "";
    if (options_.json) {
      text_ += text;
      logprobs_.push_back(logprob(logits, token));
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
  std::vector<double> logprobs_;
  std::string text_;
};

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
  const std::vector<int32_t> ends =
      options.ignore_eos ? std::vector<int32_t>{} : end_tokens(pipeline.model().files);

  Output output(options, tokenizer);
  const std::vector<int32_t>& tokens = output.tokens();
  Sequence sequence;
  const auto begin = std::chrono::steady_clock::now();
  View logits = pipeline.prefill(sequence, prompt, options.chunk);
  while (static_cast<int64_t>(tokens.size()) < options.max_tokens) {
    output.add(argmax(logits, 0), logits);
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
      app, "generate", "Greedy generation; prints text, or token ids, as they come",
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
  command->add_flag("--ignore-eos", options->ignore_eos, "go on after an end token");
  command->add_flag("--json", options->json, "one JSON document on stdout");
  command->callback([options, &action] {
    action.json = options->json;
    action.run = [options] { return generate(*options); };
  });
}

}  // namespace lockstep::cli
