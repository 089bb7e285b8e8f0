// The client against servers that answer rightly, wrongly, slowly and not at all.
#include <gtest/gtest.h>

#include <set>

#include "client/api_client.h"
#include "client/completion.h"
#include "client/fake_server_test_util.h"
#include "client/sse.h"

namespace lockstep::client {
namespace {

using test::FakeRequest;
using test::FakeServer;
using test::http_answer;
using test::Send;

Target target_of(const FakeServer& server) { return Target::at("--base-url", server.url()); }

FakeServer always(const std::string& bytes) {
  return FakeServer([bytes](const FakeRequest&, const Send& send) { send(bytes); });
}

Error error_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "expected an error";
  return {ErrorCode::kInternal, ""};
}

TEST(Target, BaseUrls) {
  for (const char* url : {"http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/"}) {
    EXPECT_EQ(Target::at("--base-url", url).url("/v1/models"), "http://h:1/v1/models") << url;
  }
  EXPECT_EQ(Target::at("x", "https://h/openai/v1").url("/v1/models"), "https://h/openai/v1/models");
  EXPECT_EQ(Target::local(8000).root, "http://127.0.0.1:8000");
  for (const char* url : {"", "h:1", "ftp://h", "http://", "http://h/?a=b", "http://me:key@h",
                          "file:///etc/passwd", "http://h\r\nX: y"}) {
    const Error error = error_of([&] { Target::at("--base-url", url); });
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument) << url;
    EXPECT_NE(error.message().find("--base-url"), std::string::npos) << error.message();
  }
  EXPECT_THROW(Target::at("x", "http://h", "a\r\nX: y"), Error);
  EXPECT_THROW(Target::local(0), Error);
  EXPECT_THROW(Target::local(65536), Error);
}

TEST(SseReader, PartsThatBreakAnywhere) {
  const std::string text =
      ": a comment\n\ndata: one\n\nevent: x\ndata:two\r\n\r\ndata: a\ndata: b\n\ndata\n\ndata: cut";
  for (size_t size = 1; size <= text.size(); ++size) {
    std::vector<std::string> events;
    SseReader reader([&](std::string_view data) { events.emplace_back(data); });
    for (size_t i = 0; i < text.size(); i += size) EXPECT_TRUE(reader.feed(text.substr(i, size)));
    EXPECT_EQ(events, (std::vector<std::string>{"one", "two", "a\nb", ""})) << size;
    EXPECT_TRUE(reader.in_event());
  }
  SseReader bounded([](std::string_view) {}, 100);
  EXPECT_FALSE(bounded.feed(std::string(101, 'x')));
  SseReader many([](std::string_view) {}, 100);
  bool goes_on = true;
  for (int i = 0; i < 50 && goes_on; ++i) goes_on = many.feed("data: 123456\n");
  EXPECT_FALSE(goes_on) << "one event of many lines is bounded too";
}

TEST(ApiClient, AnswersAndKey) {
  std::string head, body;
  FakeServer server([&](const FakeRequest& request, const Send& send) {
    head = request.head;
    body = request.body;
    send(http_answer(200, R"({"data":[{"id":"a"},{"id":"b"}]})"));
  });
  ApiClient api(Target::at("--base-url", server.url() + "/v1", "secret"));
  EXPECT_EQ(api.model_names(), (std::vector<std::string>{"a", "b"}));
  EXPECT_NE(head.find("GET /v1/models "), std::string::npos) << head;
  EXPECT_NE(head.find("Authorization: Bearer secret"), std::string::npos) << head;
  EXPECT_EQ(api.model_name("mine"), "mine");
  EXPECT_EQ(api.model_name(""), "a");
  api.post("/x", {{"k", "\xff"}});
  EXPECT_NE(head.find("POST /x "), std::string::npos) << head;
  EXPECT_EQ(body, "{\"k\":\"\xef\xbf\xbd\"}");
}

TEST(ApiClient, ErrorsNameUrlStatusAndTheServersWords) {
  struct Case {
    int status;
    std::string body;
    ErrorCode code;
    std::string words;
  };
  const Case cases[] = {
      {400, R"({"error":{"message":"bad field","param":"n"}})", ErrorCode::kInvalidArgument,
       "HTTP 400: bad field (param n)"},
      {401, R"({"error":"Unauthorized"})", ErrorCode::kFailedPrecondition,
       "HTTP 401: Unauthorized"},
      {404, R"({"detail":"no such model"})", ErrorCode::kNotFound, "HTTP 404: no such model"},
      {422, R"({"detail":[{"loc":"x"}]})", ErrorCode::kInvalidArgument, R"([{"loc":"x"}])"},
      {500, "<html>\x1b[31m", ErrorCode::kUnavailable, "HTTP 500: \"<html>\\x1b[31m\""},
      {503, "", ErrorCode::kUnavailable, "HTTP 503: nothing in its body"},
      {307, "", ErrorCode::kInvalidArgument, "HTTP 307"},
      {200, "<html>", ErrorCode::kFailedPrecondition, "expected JSON, found \"<html>\""},
      {200, R"({"error":{"message":"inside"}})", ErrorCode::kFailedPrecondition, "inside"},
      {200, R"({"models":[]})", ErrorCode::kFailedPrecondition, "expected {\"data\""},
      {200, R"({"data":[]})", ErrorCode::kNotFound, "lists no model"},
  };
  for (const Case& one : cases) {
    const FakeServer server = always(http_answer(one.status, one.body, "Location: /other\r\n"));
    ApiClient api(target_of(server));
    const Error error = error_of([&] { api.model_name(""); });
    EXPECT_EQ(error.code(), one.code) << error.message();
    EXPECT_NE(error.message().find(one.words), std::string::npos) << error.message();
    EXPECT_NE(error.message().find(server.url() + "/v1/models"), std::string::npos);
    EXPECT_EQ(error.message().find('\x1b'), std::string::npos);
  }
}

TEST(ApiClient, NobodySilentCutAndTooLarge) {
  int port = 0;
  { port = always("").port(); }
  ApiClient nobody(Target::local(port));
  EXPECT_EQ(nobody.try_get("/v1/models").http.connected, false);
  const Error error = error_of([&] { nobody.get("/v1/models"); });
  EXPECT_EQ(error.code(), ErrorCode::kUnavailable);
  EXPECT_NE(error.message().find("nobody answers"), std::string::npos) << error.message();

  FakeServer* self = nullptr;
  FakeServer silent([&](const FakeRequest&, const Send& send) {
    send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{");
    while (!self->ends()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  });
  self = &silent;
  Target target = target_of(silent);
  target.patience = std::chrono::milliseconds(200);
  ApiClient waiting(target);
  const Answer late = waiting.try_get("/x");
  EXPECT_TRUE(late.http.timed_out);
  EXPECT_NE(late.problem.find("nothing came for 0.2 s"), std::string::npos) << late.problem;

  const FakeServer cut = always("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"a\":1");
  ApiClient half(target_of(cut));
  EXPECT_NE(half.try_get("/x").problem.find("then cut off"), std::string::npos);
  EXPECT_EQ(error_of([&] { half.get("/x"); }).code(), ErrorCode::kUnavailable);

  const FakeServer large = always(http_answer(200, "\"" + std::string(5000, 'x') + "\""));
  target = target_of(large);
  target.max_body = 1000;
  ApiClient bounded(target);
  EXPECT_NE(bounded.try_get("/x").problem.find("larger than 1000 bytes"), std::string::npos);
}

TEST(HttpLoop, ManyAtOnceAndEnough) {
  std::atomic<int> n_at_once = 0, most = 0;
  FakeServer server([&](const FakeRequest& request, const Send& send) {
    const int n = ++n_at_once;
    int seen = most;
    while (seen < n && !most.compare_exchange_weak(seen, n)) {
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    send(http_answer(200, "{\"path\":\"" + request.path + "\"}"));
    --n_at_once;
  });
  const Target target = target_of(server);
  HttpLoop loop;
  std::set<std::string> bodies;
  for (int i = 0; i < 40; ++i) {
    loop.start(target, "/" + std::to_string(i), nullptr, nullptr, [&](HttpReply reply) {
      EXPECT_TRUE(reply.ok()) << describe(reply);
      bodies.insert(reply.body);
    });
  }
  while (loop.n_open() > 0) loop.run_once(std::chrono::milliseconds(20));
  EXPECT_EQ(bodies.size(), 40u);
  EXPECT_GT(most, 10);

  bool ended = false;
  loop.start(
      target, "/enough", nullptr, [](std::string_view) { return false; },
      [&](HttpReply reply) {
        ended = true;
        EXPECT_TRUE(reply.ok()) << describe(reply);
      });
  while (loop.n_open() > 0) loop.run_once(std::chrono::milliseconds(20));
  EXPECT_TRUE(ended);
  loop.start(
      target, "/throws", nullptr,
      [](std::string_view) -> bool { throw Error(ErrorCode::kInternal, "mine"); },
      [](HttpReply) {});
  EXPECT_THROW(while (loop.n_open() > 0) loop.run_once(std::chrono::milliseconds(20)), Error);
}

TEST(Completion, BothFormsOfLogprobs) {
  const Completion lists = read_completion(Json::parse(R"({"usage":{"prompt_tokens":3,
      "completion_tokens":1},"choices":[{"text":" a","finish_reason":"length","logprobs":{
      "tokens":["token_id:7"," b"],"token_logprobs":[null,-0.5],
      "top_logprobs":[null,{"token_id:9":-0.25,"token_id:x":-9999.0}]}}]})"));
  ASSERT_EQ(lists.problem, "");
  EXPECT_EQ(lists.prompt_tokens, 3);
  ASSERT_EQ(lists.positions.size(), 2u);
  EXPECT_EQ(lists.positions[0].token.id, 7);
  EXPECT_FALSE(lists.positions[0].token.logprob.has_value());
  EXPECT_FALSE(lists.positions[1].token.id.has_value());
  EXPECT_EQ(lists.positions[1].token.logprob, -0.5);
  ASSERT_EQ(lists.positions[1].top.size(), 2u);
  EXPECT_EQ(lists.positions[1].top[0].id, 9);
  EXPECT_FALSE(lists.positions[1].top[1].id.has_value());

  const Completion objects = read_completion(Json::parse(R"({"choices":[{"text":" a","logprobs":{
      "content":[{"id":5,"token":" a","bytes":[32,97],"logprob":-0.125,
      "top_logprobs":[{"id":5,"token":" a","bytes":[32,97],"logprob":-0.125}]}]}}]})"));
  ASSERT_EQ(objects.positions.size(), 1u);
  EXPECT_EQ(objects.positions[0].token.id, 5);
  EXPECT_EQ(objects.positions[0].token.bytes, " a");
  EXPECT_EQ(objects.positions[0].top[0].logprob, -0.125);
  EXPECT_FALSE(objects.prompt_tokens.has_value());
}

TEST(Completion, WhatIsNone) {
  for (const char* text :
       {"{}", "[]", "3", R"({"choices":[]})", R"({"choices":[1]})", R"({"choices":{}})",
        R"({"choices":[{"logprobs":{"tokens":["a"],"token_logprobs":[]}}]})",
        R"({"choices":[{"logprobs":{"tokens":["a"],"token_logprobs":[0],"top_logprobs":[]}}]})",
        R"({"choices":[{"logprobs":{}}]})"}) {
    EXPECT_NE(read_completion(Json::parse(text)).problem, "") << text;
  }
  for (const char* text :
       {R"({"choices":[{}]})", R"({"choices":[{"logprobs":null}]})",
        R"({"choices":[{"logprobs":[]}]})", R"({"choices":[{"logprobs":{"content":[]}}]})"}) {
    EXPECT_EQ(read_completion(Json::parse(text)).problem, "") << text;
    EXPECT_NE(read_completion(Json::parse(text)).no_logprobs, "") << text;
  }
}

TEST(Completer, LeavesOutWhatIsRefused) {
  const std::string good = R"({"choices":[{"text":"a","logprobs":{"tokens":["a"],
      "token_logprobs":[-1]}}]})";
  for (const std::string refused : {"return_tokens_as_token_ids", "logprobs", "prompt"}) {
    int n = 0;
    FakeServer server([&](const FakeRequest& request, const Send& send) {
      ++n;
      const bool bad = request.body.find('"' + refused + '"') != std::string::npos;
      const bool asked = request.body.find("\"logprobs\"") != std::string::npos;
      send(bad ? http_answer(400, R"({"error":{"message":"unknown field"}})")
               : http_answer(200, asked ? good : R"({"choices":[{"text":"a"}]})"));
    });
    ApiClient api(target_of(server));
    Completer completer(api, "m");
    const Completion got = completer.complete({{1, 2, 3}});
    if (refused == "prompt") {
      EXPECT_NE(got.problem.find("HTTP 400: unknown field"), std::string::npos) << got.problem;
      continue;
    }
    EXPECT_EQ(got.problem, "");
    EXPECT_EQ(got.positions.size(), refused == "logprobs" ? 0u : 1u);
    EXPECT_EQ(got.no_logprobs.find("the server refuses logprobs") == 0, refused == "logprobs");
    const int before = n;
    completer.complete({{1, 2, 3}});
    EXPECT_TRUE(n == before + 1 || refused == "logprobs") << "what was learnt is kept";
  }
}

}  // namespace
}  // namespace lockstep::client
