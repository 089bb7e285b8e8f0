// Faults between a sound model and its client: found by the served stage, in the probe they are of.
#include <gtest/gtest.h>

#include "bisect_support.h"
#include "client/api_client.h"
#include "client/fake_server_test_util.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace lockstep::test {
namespace {

using client::Json;
using parity::BisectOptions;
using parity::BisectReport;
using parity::Stage;

/// Changes a request on its way to a sound server, and the answer on its way back.
struct Meddler {
  std::function<void(const std::string& path, Json& request)> request;
  std::function<void(const Json& request, Json& answer)> answer;
};

class ServedTest : public ::testing::Test {
 protected:
  void serve(const std::string& name) {
    name_ = name;
    subject_ = subject_of(fixture(name));
    serve::ServedModel served = serve::ServedModel::open(subject_.folder, chat_template_);
    served.names = {"served"};
    server_ = std::make_unique<cli::LoopbackServer>(subject_, DType::kFloat32, std::move(served));
  }

  // A bisection of the server behind `meddler`.
  BisectReport run(const Meddler& meddler, int prompt = 1) {
    const auto forward = [&](const client::test::FakeRequest& request,
                             const client::test::Send& send) {
      client::ApiClient api(server_->target());
      if (request.method == "GET") {
        send(client::test::http_answer(200, api.get(request.path).dump()));
        return;
      }
      Json asked = Json::parse(request.body);
      if (meddler.request) meddler.request(request.path, asked);
      client::Answer answer = api.try_post(request.path, asked);
      if (!answer.problem.empty()) {
        send(client::test::http_answer(answer.http.status, answer.http.body));
        return;
      }
      if (meddler.answer) meddler.answer(asked, answer.json);
      send(client::test::http_answer(200, answer.json.dump()));
    };
    const client::test::FakeServer proxy(forward);
    BisectOptions options;
    options.prompt = prompt;
    options.dtype = DType::kFloat32;
    options.server = client::Target::at("--base-url", proxy.url());
    ThreadPool pool(1);
    return parity::bisect(subject_, golden_of(name_), options, pool);
  }

  void expect_found(const BisectReport& report, const std::string& probe,
                    const std::string& message) {
    ASSERT_NE(report.first(), nullptr) << "was not found";
    EXPECT_EQ(report.first()->stage, Stage::kServed) << findings_of(report);
    EXPECT_EQ(report.first()->findings[0].probe, probe) << findings_of(report);
    EXPECT_NE(report.first()->findings[0].message.find(message), std::string::npos)
        << findings_of(report);
  }

  std::string name_, chat_template_;
  parity::Subject subject_;
  std::unique_ptr<cli::LoopbackServer> server_;
};

TEST_F(ServedTest, ASoundServerPasses) {
  serve("gemma3");
  const BisectReport report = run({});
  EXPECT_EQ(report.outcome, parity::Outcome::kPass) << findings_of(report);
  // ids, echo, text, two stop strings, chat.
  EXPECT_GE(report.stages.back().probes, 6);
}

TEST_F(ServedTest, ItsOwnServerPassesToTheNoise) {
  parity::Subject subject = subject_of(fixture("llama"));
  make_servable(subject);
  BisectOptions options;
  options.only = Stage::kServed;
  options.prompt = 1;
  ThreadPool pool(1);
  const BisectReport report = parity::bisect(subject, golden_of("llama"), options, pool);
  EXPECT_EQ(report.outcome, parity::Outcome::kPass) << findings_of(report);
  EXPECT_GE(report.stages.back().probes, 12);
}

TEST_F(ServedTest, StopStringCut) {
  serve("llama");
  const auto cut = [](const Json& request, Json& answer) {
    if (!request.contains("stop")) return;
    std::string text = answer["choices"][0]["text"];
    if (answer["choices"][0]["finish_reason"] == "stop") text.pop_back();
    answer["choices"][0]["text"] = text;
  };
  expect_found(run({{}, cut}), "stop", "the text ends");
}

TEST_F(ServedTest, StopStringHeldBackAtTheEnd) {
  serve("llama");
  const auto hold = [](const Json& request, Json& answer) {
    if (!request.contains("stop")) return;
    std::string text = answer["choices"][0]["text"];
    if (answer["choices"][0]["finish_reason"] == "length") text.pop_back();
    answer["choices"][0]["text"] = text;
  };
  expect_found(run({{}, hold}), "stop", "the text ends");
}

TEST_F(ServedTest, DoubleBosOfText) {
  serve("gemma3");
  const text::Tokenizer tokenizer = text::Tokenizer::open(fixture("gemma3"));
  const auto twice = [&](const std::string&, Json& request) {
    if (!request.contains("prompt") || !request["prompt"].is_string()) return;
    std::vector<int32_t> ids = tokenizer.encode(request["prompt"].get<std::string>());
    ids.insert(ids.begin(), ids.front());
    request["prompt"] = ids;
  };
  expect_found(run({twice, {}}), "text", "one too many");
}

TEST_F(ServedTest, DoubleBosOfChat) {
  chat_template_ = "<bos>" + [] {
    std::ifstream file(fixture("gemma3") / "chat_template.jinja");
    return std::string(std::istreambuf_iterator<char>(file), {});
  }();
  serve("gemma3");
  expect_found(run({}), "chat", "one too many");
}

TEST_F(ServedTest, OtherLogitsOfTheSameTokens) {
  serve("llama");
  const auto other = [](const std::string&, Json& request) {
    if (request["prompt"].is_array()) request["prompt"][0] = 7;
  };
  expect_found(run({other, {}}), "ids", "token");
}

TEST_F(ServedTest, WhatAServerDoesNotDoIsNoFault) {
  serve("llama");
  const Meddler plain = {[](const std::string&, Json& request) {
                           request.erase("echo");
                           if (request["max_tokens"] == 0) request["max_tokens"] = 1;
                         },
                         [](const Json&, Json& answer) {
                           answer["choices"][0].erase("logprobs");
                           answer.erase("usage");
                         }};
  const BisectReport report = run(plain);
  EXPECT_EQ(report.outcome, parity::Outcome::kPass) << findings_of(report);
  const bool said = std::ranges::any_of(report.not_covered, [](const std::string& what) {
    return what.find("does not echo") != what.npos;
  });
  EXPECT_TRUE(said);
}

}  // namespace
}  // namespace lockstep::test
