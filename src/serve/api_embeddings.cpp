// POST /v1/embeddings: hidden states after the final norm, pooled by the engine.
#include <fmt/format.h>

#include <boost/asio/this_coro.hpp>
#include <cmath>
#include <cstring>

#include "serve/api_worker.h"
#include "serve/mailbox.h"

namespace lockstep::serve {

namespace asio = boost::asio;

namespace {

Pooling pooling_of(const std::string& name) {
  if (name == "mean") return Pooling::kMean;
  return name == "cls" ? Pooling::kCls : Pooling::kLast;
}

void normalize(std::vector<float>& values) {
  double sum = 0;
  for (const float value : values) sum += static_cast<double>(value) * value;
  const double length = std::sqrt(sum);
  if (length <= 0) return;
  for (float& value : values) value = static_cast<float>(value / length);
}

// Little-endian float32, as OpenAI's clients read them.
std::string base64(const std::vector<float>& values) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes(values.size() * sizeof(float), '\0');
  std::memcpy(bytes.data(), values.data(), bytes.size());
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const auto byte = [&](size_t k) -> uint32_t {
      return k < bytes.size() ? static_cast<unsigned char>(bytes[k]) : 0;
    };
    const uint32_t three = byte(i) << 16 | byte(i + 1) << 8 | byte(i + 2);
    out += kDigits[three >> 18];
    out += kDigits[three >> 12 & 63];
    out += i + 1 < bytes.size() ? kDigits[three >> 6 & 63] : '=';
    out += i + 2 < bytes.size() ? kDigits[three & 63] : '=';
  }
  return out;
}

Json embedding_json(size_t index, std::vector<float> values, const EmbeddingsRequest& request) {
  if (request.normalize) normalize(values);
  Json out = {{"object", "embedding"}, {"index", index}};
  if (request.base64) {
    out["embedding"] = base64(values);
  } else {
    out["embedding"] = values;
  }
  return out;
}

}  // namespace

asio::awaitable<void> Api::embeddings(Exchange& exchange) {
  const std::string body = exchange.take_body();
  EmbeddingsRequest request;
  std::vector<EncodedPrompt> prompts;
  auto problem = co_await off_thread(body.size(), [&]() -> std::optional<ApiError> {
    auto parsed = parse_embeddings_request(body, limits_);
    if (auto* error = std::get_if<ApiError>(&parsed)) return std::move(*error);
    request = std::move(std::get<EmbeddingsRequest>(parsed));
    if (auto error = check_model(request.model)) return error;
    if (request.dimensions.has_value()) {
      return ApiError{400,
                      "dimensions: this model was not trained for shorter embeddings (matryoshka); "
                      "leave it out",
                      "dimensions"};
    }
    for (size_t i = 0; i < request.inputs.size(); ++i) {
      const std::string place = request.inputs.size() == 1 ? "input" : fmt::format("input[{}]", i);
      auto encoded =
          encode_prompt(model_, std::move(request.inputs[i]), request.add_special_tokens, place);
      if (auto* error = std::get_if<ApiError>(&encoded)) return std::move(*error);
      prompts.push_back(std::move(std::get<EncodedPrompt>(encoded)));
      truncate_prompt(prompts.back(), request.truncate_prompt_tokens, engine_.max_length());
    }
    return std::nullopt;
  });
  if (problem.has_value()) co_return co_await fail(exchange, *problem);

  const auto mailbox = std::make_shared<Mailbox>(co_await asio::this_coro::executor);
  EngineCalls calls(engine_, mailbox);
  Usage usage;
  for (EncodedPrompt& prompt : prompts) {
    usage.prompt_tokens += static_cast<int64_t>(prompt.ids.size());
    Request one;
    one.prompt_ids = std::move(prompt.ids);
    one.pooling = pooling_of(request.pooling.empty() ? options_.pooling : request.pooling);
    if (options_.request_time.count() > 0) one.deadline = Clock::now() + options_.request_time;
    problem = calls.submit(std::move(one), "input");
    if (problem.has_value()) co_return co_await fail(exchange, *problem);
  }
  exchange.on_gone([mailbox] { mailbox->close(); });
  std::vector<Json> data(prompts.size());
  for (size_t n_left = prompts.size(); n_left > 0;) {
    std::vector<Mailbox::Item> items = co_await mailbox->wait();
    if (items.empty()) co_return;
    for (Mailbox::Item& item : items) {
      if (item.event.embedding.empty()) {
        const ApiError error = item.event.error.has_value()
                                   ? to_api_error(*item.event.error)
                                   : ApiError{503, "the request was stopped", "", 1};
        co_return co_await fail(exchange, error);
      }
      calls.done(item.choice);
      data[item.choice] = embedding_json(item.choice, std::move(item.event.embedding), request);
      --n_left;
    }
  }
  Json whole = {{"id", "embd-" + random_id()}, {"object", "list"}, {"created", model_.created}};
  whole["model"] = model_.name();
  whole["data"] = std::move(data);
  whole["usage"] = usage.json(false);
  co_await answer(exchange, whole);
}

}  // namespace lockstep::serve
