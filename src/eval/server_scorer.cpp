// A server of the OpenAI API: log-likelihoods by echo, as lm-evaluation-harness asks for them.
#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "client/completion.h"
#include "eval/scorer.h"
#include "lockstep/error.h"

namespace lockstep::eval {
namespace {

using client::Json;

struct Server {
  client::Target target;
  std::string model, version;
  int64_t max_length = 0;  // 0: it does not say
};

// The words of a completion that failed, as an error that tells whether asking again may help.
[[noreturn]] void refuse(const std::string& problem) {
  const bool is_refused = problem.find("HTTP 4") != std::string::npos;
  throw Error(is_refused ? ErrorCode::kInvalidArgument : ErrorCode::kUnavailable, problem,
              is_refused ? "the server must take prompts of ids with echo and logprobs"
                         : "start the server again and run the same command: what was scored is "
                           "kept");
}

class ServerSession : public Session {
 public:
  ServerSession(const Server& server, const text::Tokenizer& tokenizer)
      : server_(server), tokenizer_(tokenizer), api_(server.target), asks_(api_, server.model) {}

  std::vector<Loglikelihood> loglikelihood(std::span<const Choice> choices) override {
    std::vector<Loglikelihood> scored;
    for (const Choice& choice : choices) scored.push_back(weigh(choice));
    return scored;
  }

  Generated generate(const std::string& prompt, std::span<const std::string> stop,
                     int64_t max_tokens) override {
    Generated made;
    const std::vector<int32_t> ids =
        encode_prompt(tokenizer_, prompt, max_tokens, server_.max_length, made.is_cut);
    Json body = {
        {"model", server_.model}, {"prompt", ids}, {"max_tokens", max_tokens}, {"temperature", 0}};
    // OpenAI's bound; what is behind it is cut here.
    constexpr size_t kMostStops = 4;
    if (!stop.empty()) {
      body["stop"] = Json(std::vector<std::string>(
          stop.begin(),
          stop.begin() + static_cast<std::ptrdiff_t>(std::min(stop.size(), kMostStops))));
    }
    const client::Answer answer = api_.try_post("/v1/completions", body);
    if (!answer.problem.empty()) refuse(answer.problem);
    const client::Completion completion = client::read_completion(answer.json);
    if (!completion.problem.empty()) refuse(completion.problem);
    made.text = completion.text;
    const bool is_cut = cut_at_stop(made.text, stop);
    made.is_finished = is_cut || completion.finish_reason == "stop";
    return made;
  }

 private:
  Loglikelihood weigh(const Choice& choice) {
    // One token is generated: not every server takes max_tokens 0.
    const int64_t room = server_.max_length > 0 ? server_.max_length - 1 : 0;
    const EncodedChoice encoded = encode_choice(tokenizer_, choice, room);
    client::CompletionQuery query;
    query.prompt_ids.assign(encoded.ids.begin(), encoded.ids.end());
    query.echo = true;
    query.n_top = 1;
    const client::Completion completion = asks_.complete(query);
    if (!completion.problem.empty()) refuse(completion.problem);
    if (completion.positions.size() < encoded.ids.size()) {
      refuse(fmt::format("{}: HTTP 4xx: of {} prompt tokens {} have a logprob{}",
                         server_.target.url("/v1/completions"), encoded.ids.size(),
                         completion.positions.size(),
                         completion.no_logprobs.empty() ? "" : ": " + completion.no_logprobs));
    }
    Loglikelihood sum{.is_greedy = true,
                      .n_tokens = static_cast<int64_t>(encoded.ids.size() - encoded.n_context),
                      .is_cut = encoded.is_cut};
    for (size_t i = encoded.n_context; i < encoded.ids.size(); ++i) {
      const client::TokenPosition& position = completion.positions[i];
      if (!position.token.logprob) {
        refuse(fmt::format("{}: HTTP 4xx: token {} of the prompt has no logprob",
                           server_.target.url("/v1/completions"), i));
      }
      sum.logprob += *position.token.logprob;
      for (const client::ServerToken& top : position.top) {
        if (top.logprob && *top.logprob > *position.token.logprob) sum.is_greedy = false;
      }
    }
    return sum;
  }

  const Server& server_;
  const text::Tokenizer& tokenizer_;
  client::ApiClient api_;
  client::Completer asks_;
};

class ServerScorer : public Scorer {
 public:
  ServerScorer(client::Target target, const std::string& model, const text::Tokenizer& tokenizer)
      : tokenizer_(tokenizer) {
    server_.target = std::move(target);
    client::ApiClient api(server_.target);
    const Json models = api.get("/v1/models");
    server_.model = api.model_name(model);
    for (const Json& entry : models.value("data", Json::array())) {
      const bool is_it = entry.is_object() && entry.value("id", Json()) == server_.model;
      if (!is_it || !entry.contains("max_model_len")) continue;
      const Json& length = entry["max_model_len"];
      if (length.is_number_integer() && length > 1) server_.max_length = length;
    }
    const client::Answer version = api.try_get("/version");
    const bool says = version.problem.empty() && version.json.is_object() &&
                      version.json.contains("version") && version.json["version"].is_string();
    server_.version = says ? version.json["version"].get<std::string>().substr(0, 80) : "unknown";
  }

  std::unique_ptr<Session> open() override {
    return std::make_unique<ServerSession>(server_, tokenizer_);
  }
  std::string model() const override { return server_.model; }
  std::string version() const override { return server_.version; }

 private:
  const text::Tokenizer& tokenizer_;
  Server server_;
};

}  // namespace

std::unique_ptr<Scorer> server_scorer(client::Target target, const std::string& model,
                                      const text::Tokenizer& tokenizer) {
  return std::make_unique<ServerScorer>(std::move(target), model, tokenizer);
}

}  // namespace lockstep::eval
