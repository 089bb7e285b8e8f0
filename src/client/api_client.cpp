#include "client/api_client.h"

#include <fmt/format.h>

#include <optional>

#include "base/text.h"

namespace lockstep::client {
namespace {

Json parse(std::string_view text) { return Json::parse(text, nullptr, /*allow_exceptions=*/false); }

// One line of at most some 400 characters, without control characters.
std::string printable(std::string text) {
  constexpr size_t kMax = 400;
  if (text.size() > kMax) {
    size_t end = kMax;
    while (end > kMax - 4 && (static_cast<unsigned char>(text[end]) & 0xc0u) == 0x80u) --end;
    text.resize(end);
    text += "...";
  }
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  return text;
}

std::string text_of(const Json& json) {
  return json.is_string() ? json.get<std::string>()
                          : json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

std::string server_message(std::string_view body) {
  const Json json = parse(body);
  if (json.is_object()) {
    for (const char* name : {"error", "detail", "message"}) {
      const auto found = json.find(name);
      if (found == json.end() || found->is_null()) continue;
      if (!found->is_object() || !found->contains("message")) return printable(text_of(*found));
      std::string text = text_of((*found)["message"]);
      if (found->contains("param") && (*found)["param"].is_string()) {
        text += fmt::format(" (param {})", text_of((*found)["param"]));
      }
      return printable(text);
    }
  }
  return body.empty() ? "nothing in its body" : quote_text(body);
}

std::string describe(const HttpReply& reply) {
  if (reply.status == 0) {
    return fmt::format("{}: {}: {}", reply.url, reply.connected ? "no answer" : "nobody answers",
                       printable(reply.failure));
  }
  const bool is_success = reply.status >= 200 && reply.status < 300;
  if (!reply.failure.empty()) {
    return fmt::format("{}: HTTP {}, then cut off: {}", reply.url, reply.status,
                       printable(reply.failure));
  }
  if (is_success) return fmt::format("{}: HTTP {}", reply.url, reply.status);
  return fmt::format("{}: HTTP {}: {}", reply.url, reply.status, server_message(reply.body));
}

Error to_error(const HttpReply& reply) {
  const std::string message = describe(reply);
  const int status = reply.status;
  if (status == 0 && !reply.connected) {
    return {ErrorCode::kUnavailable, message,
            "start the server (lockstep serve --model MODEL), or give its address"};
  }
  if (!reply.failure.empty()) return {ErrorCode::kUnavailable, message};
  if (status == 401 || status == 403) {
    return {ErrorCode::kFailedPrecondition, message, "the server wants a key: --api-key"};
  }
  if (status == 404) {
    return {ErrorCode::kNotFound, message,
            "look at the base URL and at the model's name: GET /v1/models lists the names"};
  }
  if (status >= 300 && status < 400) {
    return {ErrorCode::kInvalidArgument, message,
            "redirects are not followed, because the key would be: give the final address"};
  }
  if (status == 429 || status >= 500) return {ErrorCode::kUnavailable, message};
  return {ErrorCode::kInvalidArgument, message};
}

Answer ApiClient::try_post(std::string_view path, const Json& body) {
  const std::string text = body.dump(-1, ' ', false, Json::error_handler_t::replace);
  return ask(path, &text);
}

Answer ApiClient::ask(std::string_view path, const std::string* body) {
  std::optional<HttpReply> reply;
  loop_.start(target_, path, body, nullptr, [&](HttpReply came) { reply = std::move(came); });
  while (!reply.has_value()) loop_.run_once(std::chrono::milliseconds(50));
  Answer answer{std::move(*reply), Json(Json::value_t::discarded), ""};
  if (!answer.http.ok()) {
    answer.problem = describe(answer.http);
    return answer;
  }
  answer.json = parse(answer.http.body);
  // Some servers say 200 and put the error into the body.
  const bool is_error = answer.json.is_object() && answer.json.contains("error") &&
                        !answer.json["error"].is_null() && !answer.json.contains("choices");
  if (answer.json.is_discarded()) {
    answer.problem = fmt::format("{}: HTTP {}: expected JSON, found {}", answer.http.url,
                                 answer.http.status, quote_text(answer.http.body));
  } else if (is_error) {
    answer.problem = fmt::format("{}: HTTP {}: {}", answer.http.url, answer.http.status,
                                 server_message(answer.http.body));
  }
  return answer;
}

Json ApiClient::checked(Answer answer) {
  if (answer.problem.empty()) return std::move(answer.json);
  if (!answer.http.ok()) throw to_error(answer.http);
  throw Error(ErrorCode::kFailedPrecondition, answer.problem,
              "is this a server of the OpenAI API?");
}

std::vector<std::string> ApiClient::model_names() {
  const Json answer = get("/v1/models");
  std::vector<std::string> names;
  const auto data = answer.is_object() ? answer.find("data") : answer.end();
  if (!answer.is_object() || data == answer.end() || !data->is_array()) {
    throw Error(ErrorCode::kFailedPrecondition,
                fmt::format("{}: expected {{\"data\": [{{\"id\": ...}}]}}, found {}",
                            target_.url("/v1/models"), quote_text(text_of(answer))),
                "is this a server of the OpenAI API?");
  }
  for (const Json& card : *data) {
    if (card.is_object() && card.contains("id") && card["id"].is_string()) {
      names.push_back(card["id"].get<std::string>());
    }
  }
  return names;
}

std::string ApiClient::model_name(const std::string& wanted) {
  if (!wanted.empty()) return wanted;
  const std::vector<std::string> names = model_names();
  if (names.empty()) {
    throw Error(ErrorCode::kNotFound, target_.url("/v1/models") + ": the server lists no model",
                "name it");
  }
  return names.front();
}

}  // namespace lockstep::client
