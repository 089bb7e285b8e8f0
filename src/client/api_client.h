// One question, one answer: JSON to and from a server of the OpenAI API, errors in its own words.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "client/http_loop.h"
#include "client/target.h"
#include "lockstep/error.h"

namespace lockstep::client {

using Json = nlohmann::json;

/// An answer, right or wrong.
struct Answer {
  HttpReply http;
  Json json;              // of a success; discarded where it is none
  std::string problem;    // empty: a success with JSON. Else URL, status and what the server says
  bool refused() const {  // the server understood, and does not do it
    return http.failure.empty() && (http.status == 400 || http.status == 422 || http.status == 501);
  }
};

/// What a server says in `body` about an error: OpenAI's object, its relatives ("detail",
/// "message"), else the beginning of the text; safe to print.
std::string server_message(std::string_view body);
/// "http://...: HTTP 400: ..." or "http://...: no answer: ...".
std::string describe(const HttpReply& reply);
/// The error to throw for a reply that is none, with a way out.
Error to_error(const HttpReply& reply);

/// For one thread.
class ApiClient {
 public:
  explicit ApiClient(Target target) : target_(std::move(target)) {}

  const Target& target() const noexcept { return target_; }
  /// `path` begins with "/": "/v1/completions".
  Answer try_get(std::string_view path) { return ask(path, nullptr); }
  Answer try_post(std::string_view path, const Json& body);
  /// The JSON of a success. Throws kUnavailable (no answer, cut off, 5xx, 429), kNotFound (404),
  /// kFailedPrecondition (401, 403, no JSON), kInvalidArgument (other 4xx, redirects), naming URL,
  /// status and the server's own message.
  Json get(std::string_view path) { return checked(try_get(path)); }
  Json post(std::string_view path, const Json& body) { return checked(try_post(path, body)); }

  /// Names of /v1/models, in its order. Throws as get(), and kFailedPrecondition for another shape.
  std::vector<std::string> model_names();
  /// `wanted` where it is not empty, else the first of model_names(). Throws kNotFound when there
  /// is none.
  std::string model_name(const std::string& wanted);

 private:
  Answer ask(std::string_view path, const std::string* body);
  static Json checked(Answer answer);

  Target target_;
  HttpLoop loop_;
};

}  // namespace lockstep::client
