// POST /v1/completions, /v1/embeddings, /tokenize and /detokenize: bodies.
#include <fmt/format.h>

#include "base/text.h"
#include "serve/generation_fields.h"

namespace lockstep::serve {
namespace {

constexpr int64_t kDefaultMaxTokens = 16;

template <class Request>
Result<Request> outcome(RequestBody& body, Request&& request) {
  if (body.error().has_value()) return std::move(*body.error());
  return std::forward<Request>(request);
}

}  // namespace

Result<CompletionRequest> parse_completion_request(std::string_view text,
                                                   const RequestLimits& limits) {
  RequestBody body(text);
  Fields fields(body);
  CompletionRequest request;
  read_generation_fields(fields, limits, request);
  if (fields.failed()) return std::move(*body.error());
  request.prompts = read_prompts(fields, "prompt", limits);
  request.logprobs = fields.integer("logprobs", -1, limits.max_logprobs);
  request.add_special_tokens = fields.boolean_or("add_special_tokens", true);
  if (fields.failed()) return std::move(*body.error());
  if (!request.max_tokens.has_value()) {
    request.max_tokens = kDefaultMaxTokens;
    request.max_tokens_param.clear();
  }
  if (request.sampling.min_tokens > *request.max_tokens) {
    fields.fail("min_tokens", fmt::format("expected at most max_tokens, {}, found {}",
                                          *request.max_tokens, request.sampling.min_tokens));
  }
  if (request.prompts.size() * static_cast<size_t>(request.n) > limits.max_prompts) {
    fields.fail("n", fmt::format("expected at most {} answers of all prompts together, found {}",
                                 limits.max_prompts, request.prompts.size() * request.n));
  }
  return outcome(body, std::move(request));
}

Result<EmbeddingsRequest> parse_embeddings_request(std::string_view text,
                                                   const RequestLimits& limits) {
  RequestBody body(text);
  Fields fields(body);
  if (fields.failed()) return std::move(*body.error());
  EmbeddingsRequest request;
  request.model = fields.string("model").value_or("");
  request.inputs = read_prompts(fields, "input", limits);
  const std::string format = fields.string("encoding_format").value_or("float");
  if (format != "float" && format != "base64") {
    fields.fail("encoding_format",
                fmt::format("expected float or base64, found {}", quote_text(format)));
  }
  request.base64 = format == "base64";
  request.dimensions = fields.integer("dimensions", 1, INT32_MAX);
  request.pooling = fields.string("pooling").value_or("");
  if (!request.pooling.empty() && request.pooling != "last" && request.pooling != "mean" &&
      request.pooling != "cls") {
    fields.fail("pooling",
                fmt::format("expected last, mean or cls, found {}", quote_text(request.pooling)));
  }
  request.normalize = fields.boolean_or("normalize", true);
  request.add_special_tokens = fields.boolean_or("add_special_tokens", true);
  request.truncate_prompt_tokens = read_truncation(fields, limits);
  return outcome(body, std::move(request));
}

Result<TokenizeRequest> parse_tokenize_request(std::string_view text, const RequestLimits& limits) {
  RequestBody body(text);
  Fields fields(body);
  if (fields.failed()) return std::move(*body.error());
  static_cast<void>(limits);
  TokenizeRequest request;
  request.model = fields.string("model").value_or("");
  request.return_token_strs = fields.boolean_or("return_token_strs", false);
  if (fields.has("prompt") == fields.has("messages")) {
    fields.fail("prompt", "expected either prompt or messages");
  } else if (fields.has("prompt")) {
    request.input = fields.string("prompt").value_or("");
    request.add_special_tokens = fields.boolean_or("add_special_tokens", true);
  } else {
    ChatCompletionRequest chat;
    read_conversation(fields, chat);
    request.add_special_tokens = fields.boolean_or("add_special_tokens", false);
    request.input = std::move(chat);
  }
  return outcome(body, std::move(request));
}

Result<DetokenizeRequest> parse_detokenize_request(std::string_view text,
                                                   const RequestLimits& limits) {
  RequestBody body(text);
  Fields fields(body);
  if (fields.failed()) return std::move(*body.error());
  DetokenizeRequest request;
  request.model = fields.string("model").value_or("");
  if (!fields.has("tokens")) fields.fail("tokens", "expected a list of token ids, found none");
  request.tokens = fields.token_ids("tokens", limits.n_tokens);
  return outcome(body, std::move(request));
}

}  // namespace lockstep::serve
