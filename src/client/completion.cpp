#include "client/completion.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "base/text.h"

namespace lockstep::client {
namespace {

// Member `name` of an object, or null.
const Json& member(const Json& json, const char* name) {
  static const Json kNull;
  if (!json.is_object()) return kNull;
  const auto found = json.find(name);
  return found == json.end() ? kNull : *found;
}

std::string text_or_empty(const Json& json) {
  return json.is_string() ? json.get<std::string>() : std::string();
}

std::optional<int64_t> count_of(const Json& json) {
  if (!json.is_number_integer() || json.get<int64_t>() < 0) return std::nullopt;
  return json.get<int64_t>();
}

// vLLM writes -9999 for minus infinity.
std::optional<double> logprob_of(const Json& json) {
  if (!json.is_number()) return std::nullopt;
  const double value = json.get<double>();
  return std::isfinite(value) ? std::optional(value) : std::nullopt;
}

void name_token(ServerToken& token, std::string text) {
  constexpr std::string_view kPrefix = "token_id:";
  token.text = std::move(text);
  if (!token.text.starts_with(kPrefix)) return;
  int64_t id = 0;
  const char* end = token.text.data() + token.text.size();
  const auto [stop, error] = std::from_chars(token.text.data() + kPrefix.size(), end, id);
  if (error == std::errc{} && stop == end && id >= 0) token.id = id;
}

std::optional<std::string> bytes_of(const Json& json) {
  if (!json.is_array()) return std::nullopt;
  std::string bytes;
  for (const Json& byte : json) {
    const auto value = count_of(byte);
    if (!value.has_value() || *value > 255) return std::nullopt;
    bytes += static_cast<char>(*value);
  }
  return bytes;
}

ServerToken object_token(const Json& json) {
  ServerToken token;
  name_token(token, text_or_empty(member(json, "token")));
  if (const auto id = count_of(member(json, "id"))) token.id = id;
  token.bytes = bytes_of(member(json, "bytes"));
  token.logprob = logprob_of(member(json, "logprob"));
  return token;
}

// {content: [{token, logprob, bytes, top_logprobs: [...]}]}.
void read_objects(const Json& content, Completion& completion) {
  for (const Json& item : content) {
    TokenPosition position{object_token(item), {}};
    const Json& top = member(item, "top_logprobs");
    if (top.is_array()) {
      for (const Json& other : top) position.top.push_back(object_token(other));
    }
    completion.positions.push_back(std::move(position));
  }
}

// {tokens, token_logprobs, top_logprobs}, lists of one length. False: they are not.
bool read_lists(const Json& logprobs, Completion& completion) {
  const Json &tokens = member(logprobs, "tokens"), &values = member(logprobs, "token_logprobs"),
             &tops = member(logprobs, "top_logprobs");
  if (!tokens.is_array() || !values.is_array() || tokens.size() != values.size()) return false;
  if (tops.is_array() && tops.size() != tokens.size()) return false;
  for (size_t i = 0; i < tokens.size(); ++i) {
    TokenPosition position;
    name_token(position.token, text_or_empty(tokens[i]));
    position.token.logprob = logprob_of(values[i]);
    if (tops.is_array() && tops[i].is_object()) {
      for (const auto& [text, value] : tops[i].items()) {
        ServerToken other;
        name_token(other, text);
        other.logprob = logprob_of(value);
        position.top.push_back(std::move(other));
      }
    }
    completion.positions.push_back(std::move(position));
  }
  return true;
}

}  // namespace

Completion read_completion(const Json& answer) {
  Completion completion;
  const Json& choices = member(answer, "choices");
  if (!choices.is_array() || choices.empty() || !choices[0].is_object()) {
    completion.problem =
        fmt::format("expected {{\"choices\": [{{...}}]}}, found {}",
                    quote_text(answer.dump(-1, ' ', false, Json::error_handler_t::replace)));
    return completion;
  }
  const Json& choice = choices[0];
  completion.text = text_or_empty(member(choice, "text"));
  completion.finish_reason = text_or_empty(member(choice, "finish_reason"));
  completion.prompt_tokens = count_of(member(member(answer, "usage"), "prompt_tokens"));
  completion.completion_tokens = count_of(member(member(answer, "usage"), "completion_tokens"));
  const Json& logprobs = member(choice, "logprobs");
  const Json& content = member(logprobs, "content");
  if (content.is_array()) {
    read_objects(content, completion);
  } else if (logprobs.is_object() && !read_lists(logprobs, completion)) {
    completion.problem =
        "choices[0].logprobs: expected lists tokens and token_logprobs of one length";
    return completion;
  }
  if (completion.positions.empty()) completion.no_logprobs = "the server gives no logprobs";
  return completion;
}

Json Completer::body(const CompletionQuery& query) const {
  Json body = {{"model", model_},
               {"prompt", query.prompt_ids},
               {"max_tokens", query.max_tokens},
               {"temperature", 0},
               {"stream", false}};
  if (query.n_top > 0) body["logprobs"] = query.n_top;
  if (query.echo) body["echo"] = true;
  if (names_by_id_ && query.n_top > 0) body["return_tokens_as_token_ids"] = true;
  return body;
}

Completion Completer::complete(const CompletionQuery& query) {
  constexpr const char* kPath = "/v1/completions";
  Answer answer = api_.try_post(kPath, body(query));
  if (answer.refused() && names_by_id_ && query.n_top > 0) {
    // Strict servers refuse fields that they do not know.
    names_by_id_ = false;
    Answer plain = api_.try_post(kPath, body(query));
    names_by_id_ = !plain.problem.empty();
    if (plain.problem.empty()) answer = std::move(plain);
  }
  std::string why_none;
  if (answer.refused() && query.n_top > 0 && !query.echo) {
    CompletionQuery without = query;
    without.n_top = 0;
    Answer plain = api_.try_post(kPath, body(without));
    if (plain.problem.empty()) {
      why_none = "the server refuses logprobs: " + answer.problem;
      answer = std::move(plain);
    }
  }
  if (!answer.problem.empty()) {
    Completion completion;
    completion.problem = answer.problem;
    return completion;
  }
  Completion completion = read_completion(answer.json);
  if (!completion.problem.empty()) {
    completion.problem = api_.target().url(kPath) + ": " + completion.problem;
  }
  if (!why_none.empty()) completion.no_logprobs = why_none;
  return completion;
}

}  // namespace lockstep::client
