#include "serve/api.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "base/text.h"
#include "lockstep/abi.h"
#include "serve/api_worker.h"
#include "serve/metrics.h"
#include "serve/page.h"

namespace lockstep::serve {

namespace asio = boost::asio;

namespace {

constexpr std::string_view kModels = "/v1/models";

// Takes as long for every key of a length.
bool same_key(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  unsigned char differs = 0;
  for (size_t i = 0; i < a.size(); ++i) differs |= static_cast<unsigned char>(a[i] ^ b[i]);
  return differs == 0;
}

void add_cors(const HttpRequest& request, HttpResponse& response) {
  if (!request.header("origin").empty()) {
    response.headers.emplace_back("access-control-allow-origin", "*");
  }
}

// A browser's question before it sends a request of another origin.
HttpResponse preflight(const HttpRequest& request) {
  HttpResponse response{200, "text/plain; charset=utf-8", "OK", {}};
  add_cors(request, response);
  response.headers.emplace_back("access-control-allow-methods",
                                "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT");
  response.headers.emplace_back("access-control-max-age", "600");
  if (const auto wanted = request.header("access-control-request-headers"); !wanted.empty()) {
    response.headers.emplace_back("access-control-allow-headers", wanted);
  }
  return response;
}

// A body without a type is taken as JSON, as curl users send it with -H left out of scripts.
bool is_json(const HttpRequest& request) {
  const std::string_view type = request.header("content-type");
  const std::string_view media = type.substr(0, type.find(';'));
  const size_t end = media.find_last_not_of(' ');
  std::string lower(media.substr(0, end == media.npos ? 0 : end + 1));
  std::ranges::transform(lower, lower.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  });
  return lower.empty() || lower == "application/json";
}

}  // namespace

Api::Api(const ServedModel& model, Engine& engine, ApiOptions options)
    : model_(model), engine_(engine), options_(std::move(options)) {
  limits_.n_tokens = static_cast<size_t>(engine.vocab_size());
  limits_.max_length = engine.max_length();
  limits_.max_logprobs = engine.plan().options.max_logprobs;
  if (limits_.max_logprobs < 0) limits_.max_logprobs = engine.vocab_size();
  if (model.token_bytes.has_value()) {
    trie_ = std::make_unique<const TokenTrie>(*model.token_bytes, limits_.n_tokens,
                                              engine.defaults().eos_token_ids);
  }
  routes_ = {
      {"/v1/completions", {"POST", &Api::completions}},
      {"/v1/chat/completions", {"POST", &Api::chat_completions}},
      {"/v1/embeddings", {"POST", &Api::embeddings}},
      {std::string(kModels), {"GET", &Api::models}},
      {"/tokenize", {"POST", &Api::tokenize}},
      {"/detokenize", {"POST", &Api::detokenize}},
      {"/health", {"GET", &Api::health, true}},
      {"/v1/health", {"GET", &Api::health, true}},
      {"/metrics", {"GET", &Api::metrics}},
      {"/version", {"GET", &Api::version}},
      {"/", {"GET", &Api::page}},
  };
}

const Api::Route* Api::find_route(const HttpRequest& request, bool& path_exists) const {
  static const Route kOneModel{"GET", &Api::one_model};
  const std::string method = request.method == "HEAD" ? "GET" : request.method;
  const auto [first, last] = routes_.equal_range(request.path);
  path_exists = first != last;
  for (auto route = first; route != last; ++route) {
    if (route->second.method == method) return &route->second;
  }
  const bool is_model = request.path.size() > kModels.size() + 1 &&
                        request.path.starts_with(kModels) && request.path[kModels.size()] == '/';
  path_exists |= is_model;
  return is_model && method == "GET" ? &kOneModel : nullptr;
}

bool Api::is_authorized(const HttpRequest& request) const {
  if (options_.api_keys.empty()) return true;
  constexpr std::string_view kBearer = "bearer ";
  const std::string_view given = request.header("authorization");
  const bool is_bearer =
      given.size() > kBearer.size() &&
      std::ranges::equal(given.substr(0, kBearer.size()), kBearer,
                         [](char a, char b) { return (a | 0x20) == (b | 0x20); });
  if (!is_bearer) return false;
  bool found = false;
  for (const std::string& key : options_.api_keys) {
    found |= same_key(key, given.substr(kBearer.size()));
  }
  return found;
}

HttpResponse Api::error_response(const ApiError& error) {
  HttpResponse response{error.status, "application/json", dump_json(error.json()), {}};
  if (error.retry_after > 0) {
    response.headers.emplace_back("retry-after", std::to_string(error.retry_after));
  }
  return response;
}

std::optional<HttpResponse> Api::check(const HttpRequest& request) const {
  const auto with_cors = [&](HttpResponse response) {
    add_cors(request, response);
    return response;
  };
  if (request.method == "OPTIONS") return preflight(request);
  bool path_exists = false;
  const Route* route = find_route(request, path_exists);
  if ((route == nullptr || !route->is_open) && !is_authorized(request)) {
    HttpResponse response{401, "application/json", R"({"error":"Unauthorized"})", {}};
    response.headers.emplace_back("www-authenticate", "Bearer");
    return with_cors(std::move(response));
  }
  if (route == nullptr) {
    const std::string what = request.method + " " + quote_text(request.path);
    return with_cors(error_response(path_exists
                                        ? ApiError{405, what + ": the method is not allowed here"}
                                        : ApiError{404, what + ": there is no such route"}));
  }
  if (std::string_view(route->method) == "POST" && !is_json(request)) {
    return with_cors(
        error_response({415, fmt::format("content-type: expected application/json, found {}",
                                         quote_text(request.header("content-type")))}));
  }
  return std::nullopt;
}

asio::awaitable<void> Api::handle(Exchange& exchange) {
  bool ignored = false;
  const Route* route = find_route(exchange.request(), ignored);
  if (std::string_view(route->method) == "POST" && n_requests_ >= options_.max_requests) {
    const ApiError full{503, "too many requests are under way; try again", "", 1};
    co_return co_await fail(exchange, full);
  }
  ++n_requests_;
  struct Count {
    size_t& n;
    ~Count() { --n; }
  } count{n_requests_};
  std::optional<ApiError> error;
  try {
    co_await (this->*route->handler)(exchange);
  } catch (const Error& thrown) {
    error = to_api_error(thrown);
  } catch (const std::bad_alloc&) {
    error = ApiError{503, "out of memory", "", 1};
  }
  if (error.has_value()) co_await fail(exchange, *error);
}

asio::awaitable<void> Api::answer(Exchange& exchange, const Json& json) {
  HttpResponse response{200, "application/json", dump_json(json), {}};
  add_cors(exchange.request(), response);
  co_await exchange.respond(std::move(response));
}

asio::awaitable<void> Api::fail(Exchange& exchange, const ApiError& error) {
  HttpResponse response = error_response(error);
  add_cors(exchange.request(), response);
  co_await exchange.respond(std::move(response));
}

std::optional<ApiError> Api::check_model(const std::string& model) const {
  if (model_.answers_to(model)) return std::nullopt;
  return ApiError{404, fmt::format("The model {} does not exist.", quote_text(model)), "model"};
}

Json Api::model_card(const std::string& id) const {
  return {{"id", id},
          {"object", "model"},
          {"created", model_.created},
          {"owned_by", "lockstep"},
          {"root", model_.root},
          {"parent", nullptr},
          {"max_model_len", engine_.max_length()},
          {"permission", Json::array()}};
}

asio::awaitable<void> Api::models(Exchange& exchange) {
  Json data = Json::array();
  for (const std::string& name : model_.names) data.push_back(model_card(name));
  // Lists in braces stay out of co_await: GCC 12 cannot compile them there.
  const Json list = {{"object", "list"}, {"data", std::move(data)}};
  co_await answer(exchange, list);
}

asio::awaitable<void> Api::one_model(Exchange& exchange) {
  const std::string name = exchange.request().path.substr(kModels.size() + 1);
  if (const auto error = check_model(name)) co_return co_await fail(exchange, *error);
  co_await answer(exchange, model_card(name));
}

asio::awaitable<void> Api::tokenize(Exchange& exchange) {
  const std::string body = exchange.take_body();
  auto done = co_await off_thread(body.size(), [&]() -> Result<Json> {
    auto parsed = parse_tokenize_request(body, limits_);
    if (auto* error = std::get_if<ApiError>(&parsed)) return std::move(*error);
    auto& request = std::get<TokenizeRequest>(parsed);
    if (auto error = check_model(request.model)) return std::move(*error);
    std::vector<int32_t> ids;
    if (auto* chat = std::get_if<ChatCompletionRequest>(&request.input)) {
      chat->add_special_tokens = request.add_special_tokens;
      auto encoded = encode_chat(*chat);
      if (auto* error = std::get_if<ApiError>(&encoded)) return std::move(*error);
      ids = std::move(std::get<EncodedPrompt>(encoded).ids);
    } else if (const auto& text = std::get<std::string>(request.input); !text.empty()) {
      auto encoded = encode_prompt(model_, text, request.add_special_tokens, "prompt");
      if (auto* error = std::get_if<ApiError>(&encoded)) return std::move(*error);
      ids = std::move(std::get<EncodedPrompt>(encoded).ids);
    }
    Json out = {{"count", ids.size()}, {"max_model_len", engine_.max_length()}, {"tokens", ids}};
    out["token_strs"] = nullptr;
    if (request.return_token_strs && model_.tokenizer.has_value()) {
      Json& names = out["token_strs"] = Json::array();
      for (const int32_t id : ids) {
        names.push_back(std::string(model_.tokenizer->id_to_token(id).value_or("")));
      }
    }
    return out;
  });
  if (auto* error = std::get_if<ApiError>(&done)) co_return co_await fail(exchange, *error);
  co_await answer(exchange, std::get<Json>(done));
}

asio::awaitable<void> Api::detokenize(Exchange& exchange) {
  const std::string body = exchange.take_body();
  auto done = co_await off_thread(body.size(), [&]() -> Result<Json> {
    auto parsed = parse_detokenize_request(body, limits_);
    if (auto* error = std::get_if<ApiError>(&parsed)) return std::move(*error);
    const auto& request = std::get<DetokenizeRequest>(parsed);
    if (auto error = check_model(request.model)) return std::move(*error);
    if (!model_.tokenizer.has_value()) return ApiError{400, "the model has no tokenizer"};
    return Json{{"prompt", model_.tokenizer->decode(request.tokens)}};
  });
  if (auto* error = std::get_if<ApiError>(&done)) co_return co_await fail(exchange, *error);
  co_await answer(exchange, std::get<Json>(done));
}

asio::awaitable<void> Api::health(Exchange& exchange) {
  const ApiError draining{503, "the server is shutting down"};
  if (draining_) co_return co_await fail(exchange, draining);
  const Json ok = {{"status", "ok"}};
  co_await answer(exchange, ok);
}

asio::awaitable<void> Api::metrics(Exchange& exchange) {
  const HttpCounts counts = http_counts ? http_counts() : HttpCounts{};
  HttpResponse response{200,
                        "text/plain; version=0.0.4; charset=utf-8",
                        metrics_text(model_.name(), engine_.stats(), counts),
                        {}};
  co_await exchange.respond(std::move(response));
}

asio::awaitable<void> Api::version(Exchange& exchange) {
  const Json version = {{"version", LOCKSTEP_SDK_VERSION}};
  co_await answer(exchange, version);
}

asio::awaitable<void> Api::page(Exchange& exchange) {
  HttpResponse response{200, "text/html; charset=utf-8", std::string(kPage), {}};
  response.headers.emplace_back("cache-control", "no-store");
  co_await exchange.respond(std::move(response));
}

}  // namespace lockstep::serve
