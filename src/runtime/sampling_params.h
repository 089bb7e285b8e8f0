// How the next token is chosen: vLLM's parameters under vLLM's names, their checks, and a model's
// own defaults (generation_config.json).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "hub/config.h"

namespace lockstep {

/// Reported where a parameter of a request cannot be met: ordinary, so a value, not an exception.
struct InvalidParameter {
  std::string parameter;  // as the request names it: "top_p", "logit_bias"
  std::string message;    // what was expected and what was found
};

/// The order of application is vLLM's: allowed_token_ids and masks, bad_words, min_tokens,
/// logit_bias, repetition_penalty, frequency_penalty and presence_penalty; then, unless greedy,
/// temperature, min_p, top_k, top_p. Equals are taken lowest id first.
struct SamplingParams {
  double temperature = 1.0;         // below 1e-5: greedy
  double top_p = 1.0;               // (0, 1]
  int64_t top_k = 0;                // 0 or -1: all
  double min_p = 0.0;               // [0, 1]; of the likeliest token's probability
  double repetition_penalty = 1.0;  // > 0; of tokens in prompt and output
  double presence_penalty = 0.0;    // [-2, 2]; of tokens in the output
  double frequency_penalty = 0.0;   // [-2, 2]; a time in the output
  std::vector<std::pair<int32_t, float>> logit_bias;  // [-100, 100] an id
  /// Sequences of ids that must not come: the last id is forbidden after the others.
  std::vector<std::vector<int32_t>> bad_words;
  std::optional<std::vector<int32_t>> allowed_token_ids;
  /// With a seed the tokens depend on the request alone, never on the batch; without, each request
  /// draws its own.
  std::optional<uint64_t> seed;
  int64_t max_tokens = 16;  // 0: the prompt alone is computed
  int64_t min_tokens = 0;   // until then neither end nor stop tokens can come
  bool ignore_eos = false;
  std::vector<int32_t> stop_token_ids;
  /// The likeliest tokens to report at each generated position, beside the chosen one; 0: the
  /// chosen one alone; -1: the whole vocabulary. Of the raw distribution: log softmax of the
  /// model's logits, before anything above.
  std::optional<int64_t> logprobs;
  /// The same at each position of the prompt but the first.
  std::optional<int64_t> prompt_logprobs;

  bool is_greedy() const noexcept { return temperature < 1e-5; }
};

/// What of `params` cannot be: a number out of range or no number, an id outside the vocabulary,
/// more logprobs than `max_logprobs` (-1: no bound).
std::optional<InvalidParameter> check(const SamplingParams& params, int64_t vocab_size,
                                      int64_t max_logprobs);

/// A model's own wishes: generation_config.json, and config.json for the end tokens it lacks.
struct GenerationDefaults {
  /// What the file sets: temperature, top_k, top_p, min_p, repetition_penalty. Like vLLM, whether
  /// or not it says do_sample.
  SamplingParams params;
  std::optional<int64_t> max_new_tokens;
  std::vector<int32_t> eos_token_ids;
  /// One line a parameter that differs from SamplingParams{}: "temperature 0.6
  /// (generation_config.json)", to be said at start.
  std::vector<std::string> notices;
};

/// Reads generation_config.json in `folder`, which may be absent; `config` is config.json.
/// Throws kInvalidArgument naming file, key, expected and found.
GenerationDefaults read_generation_defaults(const std::filesystem::path& folder,
                                            const ConfigFile& config);

}  // namespace lockstep
