// The routes of the server: OpenAI's API over one engine. Names and answers are vLLM's.
#pragma once

#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runtime/engine.h"
#include "serve/generation.h"
#include "serve/grammar_mask.h"
#include "serve/http.h"
#include "serve/requests.h"
#include "serve/responses.h"
#include "serve/served_model.h"

namespace lockstep::serve {

struct ApiOptions {
  std::vector<std::string> api_keys;  // none: open to all
  bool enable_prompt_tokens_details = false;
  /// Requests that run longer end with finish_reason "abort"; 0: never.
  std::chrono::seconds request_time{0};
  size_t max_requests = 4096;  // under way at once; more are told to come again
  std::string pooling = "last";
};

class Api {
 public:
  /// All must outlive this. The engine's embeddings are of its own pooling.
  Api(const ServedModel& model, Engine& engine, ApiOptions options);

  /// What the headers alone decide: unknown routes and methods, keys, CORS, types of bodies.
  std::optional<HttpResponse> check(const HttpRequest& request) const;
  boost::asio::awaitable<void> handle(Exchange& exchange);

  /// Set before requests come: the server's counts, for /metrics.
  std::function<HttpCounts()> http_counts;
  /// From now on /health says 503.
  void set_draining() { draining_ = true; }

  static HttpResponse error_response(const ApiError& error);

 private:
  struct Generation;
  using Handler = boost::asio::awaitable<void> (Api::*)(Exchange&);
  struct Route {
    const char* method;
    Handler handler;
    bool is_open = false;  // no key is needed
  };

  boost::asio::awaitable<void> completions(Exchange& exchange);
  boost::asio::awaitable<void> chat_completions(Exchange& exchange);
  boost::asio::awaitable<void> embeddings(Exchange& exchange);
  boost::asio::awaitable<void> models(Exchange& exchange);
  boost::asio::awaitable<void> one_model(Exchange& exchange);
  boost::asio::awaitable<void> tokenize(Exchange& exchange);
  boost::asio::awaitable<void> detokenize(Exchange& exchange);
  boost::asio::awaitable<void> health(Exchange& exchange);
  boost::asio::awaitable<void> metrics(Exchange& exchange);
  boost::asio::awaitable<void> version(Exchange& exchange);
  boost::asio::awaitable<void> page(Exchange& exchange);

  boost::asio::awaitable<void> generate(Exchange& exchange, Generation& generation);
  boost::asio::awaitable<void> collect(Exchange& exchange, Generation& generation);
  boost::asio::awaitable<void> stream(Exchange& exchange, Generation& generation);
  /// The text of a chat as the model's template has it.
  Result<std::string> render(const ChatCompletionRequest& request) const;
  Result<EncodedPrompt> encode_chat(const ChatCompletionRequest& request) const;

  /// What the request's format asks of the answer: a maker of masks, or nothing.
  Result<std::shared_ptr<const Grammar>> grammar_of(const GenerationRequest& request) const;
  std::optional<ApiError> constrain(Generation& generation) const;
  boost::asio::awaitable<std::optional<ApiError>> constrain_off_thread(Generation& generation);
  std::optional<ApiError> check_model(const std::string& model) const;
  bool is_authorized(const HttpRequest& request) const;
  const Route* find_route(const HttpRequest& request, bool& path_exists) const;
  boost::asio::awaitable<void> answer(Exchange& exchange, const Json& json);
  boost::asio::awaitable<void> fail(Exchange& exchange, const ApiError& error);
  Json model_card(const std::string& id) const;
  /// Runs `work` off the server's thread where it may take long: `bytes` of input.
  template <class Work>
  boost::asio::awaitable<std::invoke_result_t<Work>> off_thread(size_t bytes, Work work);

  const ServedModel& model_;
  Engine& engine_;
  ApiOptions options_;
  RequestLimits limits_;
  std::multimap<std::string, Route> routes_;
  std::unique_ptr<const TokenTrie> trie_;  // where there is a tokenizer
  boost::asio::thread_pool workers_{1};
  size_t n_requests_ = 0;
  std::atomic<bool> draining_ = false;  // set by another thread
};

}  // namespace lockstep::serve
