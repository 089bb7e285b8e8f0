// Any bytes as the body of any route: a request whose parts hold what they promise, or an error
// that is well-formed JSON. What asks for a schema gets it compiled, and a text run through it.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "serve/grammar.h"
#include "serve/json_schema.h"
#include "serve/requests.h"
#include "text/utf8.h"

namespace {

using namespace lockstep;
using namespace lockstep::serve;

void require(bool holds) {
  if (!holds) std::abort();
}

void check_error(const ApiError& error) {
  require(error.status >= 400 && error.status < 600);
  require(nlohmann::json::accept(dump_json(error.json())));
}

void run(const Grammar& grammar, std::string_view text) {
  StackSet stacks(grammar);
  std::vector<StackId> from{stacks.start()}, to;
  for (const char byte : text.substr(0, 256)) {
    to.clear();
    for (const StackId stack : from) stacks.advance(stack, static_cast<unsigned char>(byte), to);
    if (to.empty() || to.size() > StackSet::kMaxThreads) return;
    from.swap(to);
  }
  // What the grammar takes as a whole is JSON.
  for (const StackId stack : from) {
    if (text.size() <= 256 && stacks.is_complete(stack)) require(nlohmann::json::accept(text));
  }
}

void check(const GenerationRequest& request, const RequestLimits& limits) {
  require(request.n >= 1 && request.n <= limits.max_choices);
  require(request.logprobs.value_or(0) <= limits.max_logprobs);
  for (const auto& [id, bias] : request.sampling.logit_bias) {
    require(id >= 0 && static_cast<size_t>(id) < limits.n_tokens);
    require(bias >= -100 && bias <= 100);
  }
  for (const std::string& stop : request.sampling.stop) require(!stop.empty());
  if (request.format.kind != OutputFormat::Kind::kJsonSchema) return;
  const auto grammar = grammar_of_schema(request.format.schema, request.format.param);
  if (const auto* error = std::get_if<ApiError>(&grammar)) {
    check_error(*error);
    return;
  }
  for (const std::string_view text :
       {R"({"a": 1, "b": "x\u00e9"})", "[1, -2.5e3, true, null]", "\"text\"", "12"}) {
    run(std::get<Grammar>(grammar), text);
  }
}

void check(const Prompt& prompt, const RequestLimits& limits) {
  if (const auto* text = std::get_if<std::string>(&prompt)) {
    require(!text->empty() && text::find_invalid_utf8(*text) == text->npos);
    return;
  }
  for (const int32_t id : std::get<std::vector<int32_t>>(prompt)) {
    require(id >= 0 && static_cast<size_t>(id) < limits.n_tokens);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const RequestLimits limits{.n_tokens = 957, .max_length = 1024};
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto with = [&](auto result, auto&& visit) {
    if (const auto* error = std::get_if<ApiError>(&result)) {
      check_error(*error);
    } else {
      visit(std::get<0>(result));
    }
  };
  switch (data[0] % 5) {
    case 0:
      with(parse_completion_request(body, limits), [&](const CompletionRequest& request) {
        check(request, limits);
        require(!request.prompts.empty() && request.prompts.size() <= limits.max_prompts);
        for (const Prompt& prompt : request.prompts) check(prompt, limits);
      });
      break;
    case 1:
      with(parse_chat_request(body, limits), [&](const ChatCompletionRequest& request) {
        check(request, limits);
        require(request.messages.is_array() && !request.messages.empty());
        for (const auto& message : request.messages) require(message["content"].is_string());
      });
      break;
    case 2:
      with(parse_embeddings_request(body, limits), [&](const EmbeddingsRequest& request) {
        for (const Prompt& prompt : request.inputs) check(prompt, limits);
      });
      break;
    case 3:
      with(parse_tokenize_request(body, limits), [](const TokenizeRequest&) {});
      break;
    default:
      with(parse_detokenize_request(body, limits), [](const DetokenizeRequest&) {});
  }
  return 0;
}
