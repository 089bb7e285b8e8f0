// A whole server in this process, over loopback: what it answers is what the pipeline computes.
#include "serve/server.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "serve/loopback_test_util.h"

namespace lockstep::serve {
namespace {

using Json = nlohmann::ordered_json;

const std::string kFolder = std::string(LOCKSTEP_SOURCE_DIR) + "/examples/storyteller";

Model open_model() {
  return Model::open(kFolder, Registry(), parse_activation_dtype("", "float32"));
}

class ServerTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    Model model = open_model();
    EngineOptions engine;
    engine.max_batch_size = 8;
    engine.max_waiting = 64;
    engine.cache_tokens = 8192;
    const EnginePlan plan = plan_engine(model, engine);
    const GenerationDefaults defaults =
        read_generation_defaults(model.files.folder, model.files.config);
    PipelineOptions sizes = plan.pipeline;
    sizes.threads = 1;  // small steps, on machines that others use as well
    ServedModel served = ServedModel::open(kFolder, "");
    served.names = {"storyteller"};
    ServerOptions options;
    options.http.host = "127.0.0.1";
    options.http.port = 0;
    auto pipeline = std::make_unique<Pipeline>(std::move(model), sizes);
    server_ = new Server(std::move(served),
                         std::make_unique<Engine>(std::move(pipeline), plan, defaults), options);
    thread_ = new std::thread([] { server_->run(); });
  }
  static void TearDownTestSuite() {
    server_->drain();
    thread_->join();
    delete thread_;
    delete server_;
  }
  static Json ask(const std::string& path, const Json& body, int status = 200) {
    const auto answer = test::post(server_->port(), path, body.dump());
    if (!answer.has_value()) {
      ADD_FAILURE() << "no answer to " << body.dump();
      return {};
    }
    EXPECT_EQ(answer->status, status) << answer->body;
    return Json::parse(answer->body);
  }

  static Server* server_;
  static std::thread* thread_;
};

Server* ServerTest::server_ = nullptr;
std::thread* ServerTest::thread_ = nullptr;

struct Item {
  std::vector<int32_t> context;
  std::vector<std::vector<int32_t>> choices;
};

// Questions with four answers each, of words of the vocabulary.
std::vector<Item> make_items(size_t n) {
  const text::Tokenizer tokenizer = text::Tokenizer::open(kFolder);
  const std::vector<std::string> places{"France", "Italy", "Hungary", "Finland", "Spain"};
  const std::vector<std::string> towns{" Paris", " Rome", " Budapest", " Helsinki", " Madrid"};
  std::mt19937 random(5);
  std::vector<Item> items;
  while (items.size() < n) {
    Item item;
    item.context = tokenizer.encode(fmt::format("{} + {} = {}. The capital of {} is", random() % 30,
                                                random() % 30, random() % 60,
                                                places[random() % places.size()]));
    for (int i = 0; i < 4; ++i) {
      item.choices.push_back(tokenizer.encode(towns[random() % towns.size()] + "."));
    }
    items.push_back(std::move(item));
  }
  return items;
}

// The sum of the log probabilities of `choice` after `context`, by the pipeline alone.
double offline_score(Pipeline& pipeline, const std::vector<int32_t>& context,
                     const std::vector<int32_t>& choice) {
  std::vector<int32_t> ids = context;
  ids.insert(ids.end(), choice.begin(), choice.end());
  Sequence sequence;
  const Segment segment{&sequence, ids, LogitRows::kAll};
  const View logits = pipeline.step({&segment, 1});
  double score = 0;
  for (size_t i = context.size(); i < ids.size(); ++i) {
    const float* row = static_cast<const float*>(logits.data) +
                       static_cast<int64_t>(i - 1) * pipeline.vocab_size();
    double most = row[0], sum = 0;
    for (int64_t k = 0; k < pipeline.vocab_size(); ++k) most = std::max<double>(most, row[k]);
    for (int64_t k = 0; k < pipeline.vocab_size(); ++k) sum += std::exp(row[k] - most);
    score += row[ids[i]] - most - std::log(sum);
  }
  pipeline.release(sequence);
  return score;
}

TEST_F(ServerTest, ScoresChoicesAsOffline) {
  PipelineOptions options;
  options.max_tokens = options.max_logit_rows = options.max_context = 256;
  options.threads = 1;
  Pipeline pipeline(open_model(), options);
  for (const Item& item : make_items(200)) {
    Json request = {
        {"max_tokens", 0}, {"echo", true}, {"logprobs", 1}, {"temperature", 0}, {"seed", 1234}};
    for (const auto& choice : item.choices) {
      std::vector<int32_t> ids = item.context;
      ids.insert(ids.end(), choice.begin(), choice.end());
      request["prompt"].push_back(ids);
    }
    const Json answer = ask("/v1/completions", request);
    for (size_t c = 0; c < item.choices.size(); ++c) {
      const Json& logprobs = answer["choices"][c]["logprobs"]["token_logprobs"];
      double score = 0;
      for (size_t i = item.context.size(); i < logprobs.size(); ++i)
        score += logprobs[i].get<double>();
      ASSERT_NEAR(score, offline_score(pipeline, item.context, item.choices[c]), 1e-4);
    }
  }
}

TEST_F(ServerTest, TextOffsetsCountOnlyWhatIsInTheText) {
  const Json answer = ask("/v1/completions", {{"prompt", "Once upon a time"},
                                              {"max_tokens", 4},
                                              {"echo", true},
                                              {"logprobs", 0},
                                              {"temperature", 0}});
  const Json& choice = answer["choices"][0];
  const auto text = choice["text"].get<std::string>();
  const Json& logprobs = choice["logprobs"];
  EXPECT_TRUE(logprobs["token_logprobs"][0].is_null());
  EXPECT_TRUE(logprobs["top_logprobs"][0].is_null());
  for (size_t i = 0; i < logprobs["tokens"].size(); ++i) {
    const auto token = logprobs["tokens"][i].get<std::string>();
    EXPECT_EQ(text.compare(logprobs["text_offset"][i].get<size_t>(), token.size(), token), 0);
  }
}

TEST_F(ServerTest, GivesPromptLogprobsAndIds) {
  const Json answer = ask("/v1/completions", {{"prompt", {260, 304, 81}},
                                              {"max_tokens", 2},
                                              {"prompt_logprobs", 2},
                                              {"return_token_ids", true},
                                              {"n", 2}});
  for (const Json& choice : answer["choices"]) {
    ASSERT_EQ(choice["prompt_logprobs"].size(), 3u);
    EXPECT_TRUE(choice["prompt_logprobs"][0].is_null());
    EXPECT_TRUE(choice["prompt_logprobs"][1].contains("304"));
    EXPECT_EQ(choice["prompt_token_ids"], Json({260, 304, 81}));
    EXPECT_LE(choice["token_ids"].size(), 2u);
  }
}

TEST_F(ServerTest, RefusesMoreThanMayWaitAndGoesOn) {
  Json request = {{"prompt", Json::array()}, {"max_tokens", 50}, {"ignore_eos", true}};
  for (int i = 0; i < 200; ++i) request["prompt"].push_back("Once");
  const auto answer = test::post(server_->port(), "/v1/completions", request.dump());
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->status, 429);
  EXPECT_NE(answer->head.find("retry-after: 1"), std::string::npos);
  EXPECT_EQ(Json::parse(answer->body)["error"]["type"], "RateLimitError");
  // The places of those that were taken back are free after the step that runs.
  const Json one = {{"prompt", "Once"}, {"max_tokens", 1}};
  int status = 429;
  for (int attempt = 0; attempt < 200 && status == 429; ++attempt) {
    std::this_thread::sleep_for(std::chrono::milliseconds(25));
    const auto next = test::post(server_->port(), "/v1/completions", one.dump());
    ASSERT_TRUE(next.has_value());
    status = next->status;
  }
  EXPECT_EQ(status, 200);
}

TEST_F(ServerTest, RefusesATemplateOnlyWhereMessagesAreWrong) {
  const Json answer = ask("/v1/chat/completions", {{"messages", {{{"role", 5}}}}}, 400);
  EXPECT_EQ(answer["error"]["param"], "messages[0].role");
  EXPECT_EQ(answer["error"]["code"], 400);
}

TEST_F(ServerTest, StreamsEndWithDone) {
  test::Client client(server_->port());
  const std::string body =
      R"({"messages":[{"role":"user","content":"Hi"}],"stream":true,"max_tokens":5,"n":2})";
  client.send("POST /v1/chat/completions HTTP/1.1\r\nContent-Type: application/json\r\n" +
              fmt::format("Content-Length: {}\r\n\r\n{}", body.size(), body));
  const std::string got = client.receive_until("0\r\n\r\n");
  EXPECT_NE(got.find("text/event-stream"), std::string::npos);
  EXPECT_NE(got.find("data: [DONE]\n\n"), std::string::npos) << got;
  EXPECT_NE(got.find("\"index\":1"), std::string::npos);
}

// What a client asks for that cannot be is the client's fault.
TEST_F(ServerTest, ParametersThatForbidEveryTokenAreABadRequest) {
  Json body{{"prompt", {1, 2}}, {"allowed_token_ids", {5, 6}}};
  body["structured_outputs"]["choice"] = {"yes", "no"};
  const Json answer = ask("/v1/completions", body, 400);
  EXPECT_NE(answer["error"]["message"].get<std::string>().find("forbid every token"),
            std::string::npos);
  EXPECT_EQ(answer["error"]["type"], "BadRequestError");
}

}  // namespace
}  // namespace lockstep::serve
