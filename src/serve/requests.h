// What clients ask for, once it is checked: the bodies of the API's routes. Fields are OpenAI's and
// vLLM's (vllm/entrypoints/openai/protocol.py); those that neither knows are ignored.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "serve/api_error.h"

namespace lockstep::serve {

/// What a request is checked against.
struct RequestLimits {
  size_t n_tokens = 0;        // of the vocabulary: ids are below
  int64_t max_length = 0;     // tokens of prompt and answer together
  int64_t max_logprobs = 20;  // as vLLM's --max-logprobs
  int64_t max_choices = 128;  // of one prompt
  size_t max_prompts = 2048;
};

using Prompt = std::variant<std::string, std::vector<int32_t>>;

/// Nothing means what generation_config.json says, else no change of the distribution.
struct Sampling {
  std::optional<double> temperature, top_p, min_p, repetition_penalty;
  std::optional<int64_t> top_k;  // 0 and -1: all
  double presence_penalty = 0, frequency_penalty = 0;
  std::optional<int64_t> seed;
  std::vector<std::pair<int32_t, float>> logit_bias;
  std::optional<std::vector<int32_t>> allowed_token_ids;
  std::vector<std::string> bad_words;
  std::vector<std::string> stop;
  std::vector<int32_t> stop_token_ids;
  int64_t min_tokens = 0;
  bool include_stop_str_in_output = false;
  bool ignore_eos = false;
  bool skip_special_tokens = true;
};

/// What the answer must look like, from `response_format` or `structured_outputs`.
struct OutputFormat {
  enum class Kind : uint8_t { kText, kJsonObject, kJsonSchema, kChoice };
  Kind kind = Kind::kText;
  nlohmann::ordered_json schema;     // of kJsonSchema
  std::vector<std::string> choices;  // of kChoice
  std::string param;                 // the field it came of
};

struct StreamOptions {
  bool stream = false;
  bool include_usage = false;
  bool continuous_usage_stats = false;
};

/// What completions and chat share.
struct GenerationRequest {
  std::string model;  // empty: the one that is served
  Sampling sampling;
  OutputFormat format;
  StreamOptions streaming;
  std::optional<int64_t> max_tokens;
  std::string max_tokens_param = "max_tokens";
  int64_t n = 1;
  /// How many alternatives a token's logprobs have; nothing: no logprobs. -1: the vocabulary.
  std::optional<int64_t> logprobs;
  std::optional<int64_t> prompt_logprobs;
  bool echo = false;
  bool return_token_ids = false;
  bool return_tokens_as_token_ids = false;
  bool add_special_tokens = true;
  std::optional<int64_t> truncate_prompt_tokens;  // the last so many; -1: what fits
  std::string request_id;                         // empty: made up
  int64_t priority = 0;
};

struct CompletionRequest : GenerationRequest {
  std::vector<Prompt> prompts;
};

struct ToolChoice {
  enum class Kind : uint8_t { kNone, kAuto, kRequired, kNamed };
  Kind kind = Kind::kNone;
  std::string name;  // of kNamed
};

struct ChatCompletionRequest : GenerationRequest {
  nlohmann::ordered_json messages;  // contents are strings, arguments of tool calls are objects
  nlohmann::ordered_json tools;     // null: none
  nlohmann::ordered_json documents;
  nlohmann::ordered_json template_variables = nlohmann::ordered_json::object();
  ToolChoice tool_choice;
  bool parallel_tool_calls = true;
  bool add_generation_prompt = true;
  bool continue_final_message = false;
};

struct EmbeddingsRequest {
  std::string model;
  std::vector<Prompt> inputs;
  bool base64 = false;
  std::optional<int64_t> dimensions;
  std::string pooling;  // "last", "mean", "cls"; empty: the server's
  bool normalize = true;
  bool add_special_tokens = true;
  std::optional<int64_t> truncate_prompt_tokens;
};

struct TokenizeRequest {
  std::string model;
  std::variant<std::string, ChatCompletionRequest> input;
  bool add_special_tokens = true;
  bool return_token_strs = false;
};

struct DetokenizeRequest {
  std::string model;
  std::vector<int32_t> tokens;
};

// Each takes the bytes of a body. Errors have status 400 and name the field.
Result<CompletionRequest> parse_completion_request(std::string_view body,
                                                   const RequestLimits& limits);
Result<ChatCompletionRequest> parse_chat_request(std::string_view body,
                                                 const RequestLimits& limits);
Result<EmbeddingsRequest> parse_embeddings_request(std::string_view body,
                                                   const RequestLimits& limits);
Result<TokenizeRequest> parse_tokenize_request(std::string_view body, const RequestLimits& limits);
Result<DetokenizeRequest> parse_detokenize_request(std::string_view body,
                                                   const RequestLimits& limits);

}  // namespace lockstep::serve
