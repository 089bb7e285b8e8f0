// POST /v1/completions and /v1/chat/completions.
#include <fmt/format.h>

#include <chrono>

#include "base/log.h"
#include "serve/api_generation.h"
#include "serve/api_worker.h"

namespace lockstep::serve {

namespace asio = boost::asio;

namespace {

int64_t seconds_now() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

ApiError engine_error(const TokenEvent& event) {
  ApiError error =
      event.error.has_value() ? to_api_error(*event.error) : ApiError{500, "the request failed"};
  log_error("a request failed: " + error.message);
  return error;
}

void append(Choice& whole, Choice&& part) {
  whole.text += part.text;
  std::ranges::move(part.records, std::back_inserter(whole.records));
  whole.token_ids.insert(whole.token_ids.end(), part.token_ids.begin(), part.token_ids.end());
  if (!part.prompt_token_ids.empty()) whole.prompt_token_ids = std::move(part.prompt_token_ids);
  if (!part.prompt_logprobs.is_null()) whole.prompt_logprobs = std::move(part.prompt_logprobs);
  if (part.finish_reason.empty()) return;
  whole.finish_reason = std::move(part.finish_reason);
  whole.stop_reason = std::move(part.stop_reason);
}

HttpResponse event_stream() {
  HttpResponse head{200, "text/event-stream; charset=utf-8", "", {}};
  head.headers.emplace_back("cache-control", "no-cache");
  head.headers.emplace_back("x-accel-buffering", "no");
  return head;
}

bool is_empty(const Choice& part) {
  return part.text.empty() && part.records.empty() && part.finish_reason.empty() &&
         part.token_ids.empty();
}

// Writes the parts of a chat's answers as a stream's chunks.
class ChatStream {
 public:
  ChatStream(const ServedModel& model, const AnswerHead& head, const ChatCompletionRequest& request,
             std::vector<ToolParser>& tools, size_t n_choices)
      : model_(model), head_(head), request_(request), tools_(tools), began_(n_choices) {}

  std::string chunks(Choice&& part) {
    const auto i = static_cast<size_t>(part.index);
    std::string out;
    if (!began_[i]) {
      began_[i] = true;
      Choice first;
      first.index = part.index;
      first.prompt_token_ids = std::move(part.prompt_token_ids);
      out += chunk(first, {{"role", "assistant"}, {"content", echoed()}});
    }
    Json delta = Json::object();
    if (!tools_.empty()) {
      take_calls(i, part, out);
      if (tools_[i].n_calls() > 0 && part.finish_reason == "stop") {
        part.finish_reason = "tool_calls";
      }
    }
    if (is_empty(part) || (!request_.return_token_ids && part.text.empty() &&
                           part.records.empty() && part.finish_reason.empty())) {
      return out;
    }
    if (!part.text.empty()) delta["content"] = part.text;
    return out + chunk(part, std::move(delta));
  }

 private:
  std::string chunk(const Choice& part, Json delta) {
    return sse(chat_chunk(head_, model_, request_, part, std::move(delta)));
  }
  std::string echoed() const {
    const Json& last = request_.messages.back();
    return request_.echo && last["role"] == "assistant" ? last["content"].get<std::string>() : "";
  }
  void take_calls(size_t i, Choice& part, std::string& out) {
    size_t index = tools_[i].n_calls();
    ToolParser::Delta delta = tools_[i].push(part.text);
    if (!part.finish_reason.empty()) {
      ToolParser::Delta rest = tools_[i].finish();
      delta.text += rest.text;
      std::ranges::move(rest.calls, std::back_inserter(delta.calls));
    }
    part.text = std::move(delta.text);
    for (const ToolCall& call : delta.calls) {
      Choice only;
      only.index = part.index;
      const Json function = {{"name", call.name}, {"arguments", call.arguments}};
      out += chunk(only, {{"tool_calls", Json::array({{{"index", index++},
                                                       {"id", call.id},
                                                       {"type", "function"},
                                                       {"function", function}}})}});
    }
  }

  const ServedModel& model_;
  const AnswerHead& head_;
  const ChatCompletionRequest& request_;
  std::vector<ToolParser>& tools_;
  std::vector<bool> began_;
};

}  // namespace

// A schema may take long to compile however few bytes it has.
asio::awaitable<std::optional<ApiError>> Api::constrain_off_thread(Generation& generation) {
  using Kind = OutputFormat::Kind;
  const Kind kind = generation.request->format.kind;
  const bool has_tools = generation.chat != nullptr && !generation.chat->tools.is_null();
  const size_t cost = kind == Kind::kText && !has_tools ? 0 : SIZE_MAX;
  auto problem = co_await off_thread(cost, [&] { return constrain(generation); });
  co_return problem;
}

asio::awaitable<void> Api::completions(Exchange& exchange) {
  const std::string body = exchange.take_body();
  CompletionRequest request;
  Generation generation;
  auto problem = co_await off_thread(body.size(), [&]() -> std::optional<ApiError> {
    auto parsed = parse_completion_request(body, limits_);
    if (auto* error = std::get_if<ApiError>(&parsed)) return std::move(*error);
    request = std::move(std::get<CompletionRequest>(parsed));
    if (auto error = check_model(request.model)) return error;
    for (size_t i = 0; i < request.prompts.size(); ++i) {
      const std::string place =
          request.prompts.size() == 1 ? "prompt" : fmt::format("prompt[{}]", i);
      auto encoded =
          encode_prompt(model_, std::move(request.prompts[i]), request.add_special_tokens, place);
      if (auto* error = std::get_if<ApiError>(&encoded)) return std::move(*error);
      generation.prompts.push_back(std::move(std::get<EncodedPrompt>(encoded)));
      truncate_prompt(generation.prompts.back(), request.truncate_prompt_tokens,
                      engine_.max_length() - request.max_tokens.value_or(0));
    }
    generation.request = &request;
    return std::nullopt;
  });
  if (!problem.has_value()) problem = co_await constrain_off_thread(generation);
  if (problem.has_value()) co_return co_await fail(exchange, *problem);
  generation.prompt_param = "prompt";
  generation.head = {"cmpl-" + random_id(), seconds_now(), model_.name()};
  co_await generate(exchange, generation);
}

Result<std::string> Api::render(const ChatCompletionRequest& request) const {
  if (!model_.chat_template.has_value()) {
    return ApiError{400,
                    "messages: the model has no chat template: " + model_.chat_template_problem +
                        "; give --chat-template",
                    "messages"};
  }
  ChatRequest chat;
  chat.messages = request.messages;
  if (request.tool_choice.kind != ToolChoice::Kind::kNone) chat.tools = request.tools;
  chat.documents = request.documents;
  chat.add_generation_prompt = request.add_generation_prompt;
  if (request.continue_final_message) chat.continue_final_message = "content";
  chat.variables = request.template_variables;
  try {
    return model_.chat_template->render(chat).text;
  } catch (const Error& error) {
    ApiError answer = to_api_error(error, "messages");
    answer.status = 400;
    return answer;
  }
}

Result<EncodedPrompt> Api::encode_chat(const ChatCompletionRequest& request) const {
  auto rendered = render(request);
  if (auto* error = std::get_if<ApiError>(&rendered)) return std::move(*error);
  auto encoded = encode_prompt(model_, std::move(std::get<std::string>(rendered)),
                               request.add_special_tokens, "messages");
  return encoded;
}

asio::awaitable<void> Api::chat_completions(Exchange& exchange) {
  const std::string body = exchange.take_body();
  ChatCompletionRequest request;
  Generation generation;
  auto problem = co_await off_thread(body.size(), [&]() -> std::optional<ApiError> {
    auto parsed = parse_chat_request(body, limits_);
    if (auto* error = std::get_if<ApiError>(&parsed)) return std::move(*error);
    request = std::move(std::get<ChatCompletionRequest>(parsed));
    if (auto error = check_model(request.model)) return error;
    auto encoded = encode_chat(request);
    if (auto* error = std::get_if<ApiError>(&encoded)) return std::move(*error);
    generation.prompts.push_back(std::move(std::get<EncodedPrompt>(encoded)));
    truncate_prompt(generation.prompts.back(), request.truncate_prompt_tokens,
                    engine_.max_length() - request.max_tokens.value_or(1));
    if (request.tool_choice.kind == ToolChoice::Kind::kAuto) {
      ChatCompletionRequest bare = request;
      bare.tool_choice.kind = ToolChoice::Kind::kNone;
      const auto with = render(request), without = render(bare);
      if (with.index() == 0 && without.index() == 0) {
        generation.tool_style =
            find_tool_style(std::get<std::string>(with), std::get<std::string>(without));
      }
    }
    generation.request = &request;
    generation.chat = &request;
    return std::nullopt;
  });
  if (!problem.has_value()) problem = co_await constrain_off_thread(generation);
  if (problem.has_value()) co_return co_await fail(exchange, *problem);
  generation.prompt_param = "messages";
  generation.head = {"chatcmpl-" + random_id(), seconds_now(), model_.name()};
  co_await generate(exchange, generation);
}

asio::awaitable<void> Api::generate(Exchange& exchange, Generation& generation) {
  generation.mailbox = std::make_shared<Mailbox>(co_await asio::this_coro::executor);
  generation.calls = std::make_unique<EngineCalls>(engine_, generation.mailbox);
  if (!generation.request->request_id.empty()) {
    const std::string prefix = generation.chat != nullptr ? "chatcmpl-" : "cmpl-";
    generation.head.id = prefix + generation.request->request_id;
  }
  if (auto error = generation.start(model_, engine_, options_.request_time)) {
    co_return co_await fail(exchange, *error);
  }
  exchange.on_gone([mailbox = generation.mailbox] { mailbox->close(); });
  if (generation.request->streaming.stream) {
    co_await stream(exchange, generation);
  } else {
    co_await collect(exchange, generation);
  }
}

asio::awaitable<void> Api::collect(Exchange& exchange, Generation& generation) {
  std::vector<Choice> choices(generation.outputs.size());
  for (size_t i = 0; i < choices.size(); ++i) choices[i].index = static_cast<int64_t>(i);
  while (generation.n_open > 0) {
    std::vector<Mailbox::Item> items = co_await generation.mailbox->wait();
    if (items.empty()) co_return;
    for (Mailbox::Item& item : items) {
      if (item.event.finish == FinishReason::kError) {
        const ApiError error = engine_error(item.event);
        co_return co_await fail(exchange, error);
      }
      append(choices[item.choice], generation.take(item.choice, std::move(item.event), model_));
    }
  }
  std::vector<Json> parts;
  for (Choice& choice : choices) {
    const auto i = static_cast<size_t>(choice.index);
    if (!generation.tools.empty()) {
      ToolParser::Delta delta = generation.tools[i].push(choice.text);
      ToolParser::Delta rest = generation.tools[i].finish();
      choice.text = delta.text + rest.text;
      choice.tool_calls = std::move(delta.calls);
      std::ranges::move(rest.calls, std::back_inserter(choice.tool_calls));
      if (!choice.tool_calls.empty() && choice.finish_reason == "stop") {
        choice.finish_reason = "tool_calls";
      }
    }
    if (generation.chat != nullptr && generation.request->echo) {
      const Json& last = generation.chat->messages.back();
      if (last["role"] == "assistant") choice.text.insert(0, last["content"].get<std::string>());
    }
    parts.push_back(generation.chat != nullptr
                        ? chat_choice(model_, *generation.request, choice)
                        : completion_choice(model_, *generation.request, choice));
  }
  const bool details = options_.enable_prompt_tokens_details;
  if (generation.chat == nullptr) {
    const Json whole =
        completion_answer(generation.head, std::move(parts), generation.usage, details);
    co_return co_await answer(exchange, whole);
  }
  Json whole = chat_answer(generation.head, std::move(parts), generation.usage, details);
  if (generation.request->prompt_logprobs.has_value()) {
    whole["prompt_logprobs"] = choices.front().prompt_logprobs;
  }
  if (generation.request->return_token_ids) {
    whole["prompt_token_ids"] = generation.prompts.front().ids;
  }
  co_await answer(exchange, whole);
}

asio::awaitable<void> Api::stream(Exchange& exchange, Generation& generation) {
  HttpResponse head = event_stream();
  if (!exchange.request().header("origin").empty()) {
    head.headers.emplace_back("access-control-allow-origin", "*");
  }
  if (!co_await exchange.begin(std::move(head))) co_return;
  const GenerationRequest& request = *generation.request;
  std::optional<ChatStream> chat;
  if (generation.chat != nullptr) {
    chat.emplace(model_, generation.head, *generation.chat, generation.tools,
                 generation.outputs.size());
  }
  bool failed = false;
  while (generation.n_open > 0 && !failed) {
    std::vector<Mailbox::Item> items = co_await generation.mailbox->wait();
    if (items.empty()) co_return;
    std::string out;
    for (Mailbox::Item& item : items) {
      if (item.event.finish == FinishReason::kError) {
        out += sse(engine_error(item.event).json());
        failed = true;
        break;
      }
      Choice part = generation.take(item.choice, std::move(item.event), model_);
      if (chat.has_value()) {
        out += chat->chunks(std::move(part));
      } else if (!is_empty(part)) {
        if (part.text.empty() && part.records.empty() && part.finish_reason.empty() &&
            !request.return_token_ids) {
          continue;
        }
        out += sse(completion_chunk(generation.head, model_, request, part));
      }
    }
    if (!co_await exchange.write(std::move(out))) co_return;
  }
  std::string last;
  if (request.streaming.include_usage && !failed) {
    last = sse(usage_chunk(generation.head,
                           chat.has_value() ? "chat.completion.chunk" : "text_completion",
                           generation.usage, options_.enable_prompt_tokens_details));
  }
  last += kSseDone;
  const bool sent = co_await exchange.write(std::move(last));
  if (sent) co_await exchange.end();
}

}  // namespace lockstep::serve
