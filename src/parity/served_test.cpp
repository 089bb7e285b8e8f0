// A server against recorded logits: one that is right in three dialects, and many that are not.
#include "parity/served.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <memory>
#include <numeric>
#include <sstream>

#include "client/fake_server_test_util.h"
#include "lockstep/error.h"
#include "parity/served_rows.h"

namespace lockstep::parity {
namespace {

using client::Json;
using client::test::FakeRequest;
using client::test::FakeServer;
using client::test::http_answer;
using client::test::Send;
using Kind = ServedPosition::Outcome;

const std::string kStoryteller = std::string(LOCKSTEP_SOURCE_DIR) + "/examples/storyteller";

enum class Dialect { kIds, kObjects, kTexts };

/// Answers from the recording itself, with a fault where one is set.
struct Oracle {
  Recording recording = read_recording(kStoryteller + "/reference");
  text::Tokenizer tokenizer = text::Tokenizer::open(kStoryteller);
  std::string dtype = "bfloat16";  // what it computes in
  Dialect dialect = Dialect::kIds;
  std::function<void(std::vector<int64_t>& ids)> on_prompt;
  std::function<void(std::vector<double>& logits, size_t length)> on_logits;
  std::function<void(Json& answer, size_t length)> on_answer;

  std::string name(int64_t id) const {
    if (dialect == Dialect::kIds) return fmt::format("token_id:{}", id);
    const auto only = static_cast<int32_t>(id);
    return tokenizer.decode({&only, 1});
  }

  Json logprobs_of(const std::vector<double>& logits, size_t n_top) const {
    std::vector<size_t> order(logits.size());
    std::iota(order.begin(), order.end(), 0);
    std::ranges::sort(order, [&](size_t a, size_t b) { return logits[a] > logits[b]; });
    double sum = 0;
    for (const double z : logits) sum += std::exp(z - logits[order[0]]);
    Json top = Json::object(), list = Json::array();
    for (size_t i = 0; i < n_top; ++i) {
      const double logprob = logits[order[i]] - logits[order[0]] - std::log(sum);
      const auto id = static_cast<int64_t>(order[i]);
      top[name(id)] = logprob;
      list.push_back({{"id", id}, {"token", name(id)}, {"logprob", logprob}});
    }
    const auto id = static_cast<int64_t>(order[0]);
    if (dialect == Dialect::kObjects) {
      Json item = list[0];
      item["top_logprobs"] = list;
      return {{"content", Json::array({item})}};
    }
    return {{"tokens", {name(id)}},
            {"token_logprobs", {top[name(id)]}},
            {"top_logprobs", Json::array({top})}};
  }

  Json answer(const Json& body) const {
    auto ids = body["prompt"].get<std::vector<int64_t>>();
    const size_t n_sent = ids.size();
    if (on_prompt) on_prompt(ids);
    const Run* run = nullptr;
    for (const Run& each : recording.runs) {
      if (each.info.dtype == dtype && each.info.phase == Phase::kPrefill) run = &each;
    }
    const auto length = std::clamp<int64_t>(static_cast<int64_t>(ids.size()), 1,
                                            static_cast<int64_t>(run->info.prompt_ids.size()));
    std::vector<double> logits = reference_row(*run, length).logits;
    if (on_logits) on_logits(logits, n_sent);
    Json out = {{"choices", Json::array({{{"text", "x"}, {"logprobs", logprobs_of(logits, 5)}}})},
                {"usage", {{"prompt_tokens", ids.size()}, {"completion_tokens", 1}}}};
    if (on_answer) on_answer(out, n_sent);
    return out;
  }

  ServedReport compare(const std::string& served_dtype = "bfloat16") {
    FakeServer server([this](const FakeRequest& request, const Send& send) {
      send(http_answer(200, answer(Json::parse(request.body)).dump()));
    });
    return compare_with(server, served_dtype);
  }
  ServedReport compare_with(const FakeServer& server, const std::string& served_dtype = "bfloat16",
                            int patience_ms = 5000) {
    client::Target target = client::Target::at("--base-url", server.url());
    target.patience = std::chrono::milliseconds(patience_ms);
    client::ApiClient api(target);
    ServedOptions options;
    options.positions = {1, 5, 10, 20, 50};
    options.dtype = served_dtype;
    ServedTokens tokens(&tokenizer);
    ServedReport report = compare_served(api, "m", recording, options, tokens);
    text = served_text(report, tokens);
    EXPECT_EQ(Json::parse(served_json(report, {}))["verdict"], outcome_name(report.outcome));
    return report;
  }
  std::string text;  // of the last report
};

TEST(Served, PassesWhatIsRightInEveryDialect) {
  for (const Dialect dialect : {Dialect::kIds, Dialect::kObjects, Dialect::kTexts}) {
    for (const char* dtype : {"float32", "bfloat16"}) {
      Oracle oracle;
      oracle.dialect = dialect;
      oracle.dtype = dtype;
      const ServedReport report = oracle.compare(dtype);
      EXPECT_EQ(report.outcome, Outcome::kPass) << oracle.text;
      EXPECT_EQ(report.n_compared(), 5) << oracle.text;
      EXPECT_EQ(report.count(Kind::kUnasked), 1) << "the prompt has 27 tokens";
      EXPECT_GE(report.positions.front().n_others, 3) << "the next tokens are compared too";
    }
  }
}

/// One prompt, one row, float32 and bfloat16; in bfloat16 the second logit is `gain` higher, and
/// the others are 0.02 from themselves.
Recording two_highest_apart(double margin, double gain = 0) {
  auto values = std::make_shared<std::array<std::vector<float>, 2>>();
  for (int i = 0; i < 64; ++i) {
    const float z = i == 0   ? 5.0f
                    : i == 1 ? 5.0f - static_cast<float>(margin)
                             : -0.1f * static_cast<float>(i);
    (*values)[0].push_back(z);
    (*values)[1].push_back(z + (i == 1 ? static_cast<float>(gain) : i % 2 == 0 ? 0.02f : -0.02f));
  }
  (*values)[1][0] = 5.0f;
  Recording recording;
  recording.path = "made-up";
  for (size_t i = 0; i < 2; ++i) {
    Run run;
    run.info = {i == 0 ? "precise" : "coarse",
                i == 0 ? "float32" : "bfloat16",
                "eager",
                "cpu",
                0,
                {7},
                Phase::kPrefill,
                0};
    const std::array<int64_t, 2> shape = {1, 64};
    run.logits = Tap{{}, make_view((*values)[i].data(), DType::kFloat32, shape), false};
    recording.runs.push_back(std::move(run));
  }
  recording.storage = values;
  return recording;
}

struct Wrong {
  const char* name;
  Outcome outcome;
  const char* reason;
  std::function<void(Oracle&)> plant;
};

void each_choice(Oracle& oracle, const std::function<void(Json& logprobs)>& change) {
  oracle.on_answer = [change](Json& answer, size_t) { change(answer["choices"][0]["logprobs"]); };
}

TEST(Served, NeverPassesWhatIsWrong) {
  const Wrong cases[] = {
      {"shifted and counted", Outcome::kUndecided, "+1 prompt tokens against the ids",
       [](Oracle& o) { o.on_prompt = [](auto& ids) { ids.insert(ids.begin(), 1); }; }},
      {"shifted in secret", Outcome::kDiverged, "another token",
       [](Oracle& o) {
         o.on_prompt = [](auto& ids) { ids.insert(ids.begin(), 1); };
         o.on_answer = [](Json& answer, size_t n) { answer["usage"]["prompt_tokens"] = n; };
       }},
      {"one prompt for all, uncounted", Outcome::kDiverged, "another token",
       [](Oracle& o) {
         o.on_prompt = [](auto& ids) { ids.assign(4, 1); };
         o.on_answer = [](Json& answer, size_t) { answer.erase("usage"); };
       }},
      {"temperature", Outcome::kDiverged, "logprob of",
       [](Oracle& o) {
         o.on_logits = [](auto& logits, size_t) {
           for (double& z : logits) z *= 0.8;
         };
       }},
      {"right winners, wrong rest", Outcome::kDiverged, "logprob of token",
       [](Oracle& o) {
         each_choice(o, [](Json& logprobs) {
           const std::string own = logprobs["tokens"][0];
           for (auto& [name, value] : logprobs["top_logprobs"][0].items()) {
             if (name != own) value = value.get<double>() * 1.3 - 1;
           }
         });
       }},
      {"right winners, other tokens behind", Outcome::kDiverged, "not in the server's list",
       [](Oracle& o) {
         each_choice(o, [](Json& logprobs) {
           Json other = Json::object();
           const std::string own = logprobs["tokens"][0];
           other[own] = logprobs["top_logprobs"][0][own];
           for (const int id : {900, 901, 902, 903})
             other[fmt::format("token_id:{}", id)] = -30.0 - id;
           logprobs["top_logprobs"][0] = other;
         });
       }},
      {"a bias on one token", Outcome::kDiverged, "",
       [](Oracle& o) { o.on_logits = [](auto& logits, size_t) { logits[16] += 12; }; }},
      {"wrong from 10 tokens on", Outcome::kDiverged, "",
       [](Oracle& o) {
         o.on_logits = [](auto& logits, size_t n) {
           if (n >= 10) std::ranges::reverse(logits);
         };
       }},
      {"not a number", Outcome::kUndecided, "no logprob",
       [](Oracle& o) { each_choice(o, [](Json& l) { l["token_logprobs"][0] = "nan"; }); }},
      {"no logprobs", Outcome::kUndecided, "the server gives no logprobs",
       [](Oracle& o) { each_choice(o, [](Json& logprobs) { logprobs = nullptr; }); }},
      {"no logprobs at one position", Outcome::kUndecided, "the server gives no logprobs",
       [](Oracle& o) {
         o.on_answer = [](Json& answer, size_t n) {
           if (n == 5) answer["choices"][0].erase("logprobs");
         };
       }},
      {"two tokens for one", Outcome::kUndecided, "one token was asked for",
       [](Oracle& o) {
         each_choice(o, [](Json& logprobs) {
           for (const char* list : {"tokens", "token_logprobs", "top_logprobs"}) {
             logprobs[list].push_back(logprobs[list][0]);
           }
         });
       }},
      {"a token that is none", Outcome::kDiverged, "beyond the reference's vocabulary",
       [](Oracle& o) { each_choice(o, [](Json& l) { l["tokens"][0] = "token_id:123456"; }); }},
      {"names that are no tokens", Outcome::kUndecided, "is no token of this model",
       [](Oracle& o) { each_choice(o, [](Json& l) { l["tokens"][0] = "\x01nothing"; }); }},
      {"always sure of itself", Outcome::kDiverged, "logprob of its token",
       [](Oracle& o) {
         each_choice(o, [](Json& l) {
           l["token_logprobs"][0] = 0.0;
           l.erase("top_logprobs");
         });
       }},
      {"no choices", Outcome::kUndecided, "expected {\"choices\"",
       [](Oracle& o) { o.on_answer = [](Json& answer, size_t) { answer.erase("choices"); }; }},
  };
  for (const Wrong& wrong : cases) {
    Oracle oracle;
    wrong.plant(oracle);
    const ServedReport report = oracle.compare();
    EXPECT_EQ(report.outcome, wrong.outcome) << wrong.name << "\n" << oracle.text;
    EXPECT_NE(oracle.text.find(wrong.reason), std::string::npos) << wrong.name << "\n"
                                                                 << oracle.text;
    std::istringstream lines(oracle.text);
    for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100u) << line;
  }
}

TEST(Served, SaysFromWhichLengthOn) {
  Oracle oracle;
  oracle.on_logits = [](std::vector<double>& logits, size_t n) {
    if (n >= 10) std::ranges::reverse(logits);
  };
  const ServedReport report = oracle.compare();
  ASSERT_NE(report.first_difference(), nullptr);
  EXPECT_EQ(report.first_difference()->length, 10);
  EXPECT_NE(oracle.text.find("look at: rotary frequencies"), std::string::npos) << oracle.text;
}

TEST(Served, ATieIsWeighed) {
  Oracle oracle;
  // The two highest change places; the reference's margin decides whether that is a fault.
  oracle.on_logits = [](std::vector<double>& logits, size_t) {
    const auto first = std::ranges::max_element(logits);
    const double most = *first;
    *first = -1e9;
    const auto second = std::ranges::max_element(logits);
    *first = std::exchange(*second, most);
  };
  const ServedReport differs = oracle.compare();
  EXPECT_EQ(differs.outcome, Outcome::kDiverged);
  EXPECT_NE(oracle.text.find("the reference's margin is"), std::string::npos) << oracle.text;

  // The same server against a reference whose two highest are as good as equal: what it says is
  // within the reference's own noise.
  oracle.recording = two_highest_apart(0.02);
  const ServedReport tie = oracle.compare();
  EXPECT_EQ(tie.outcome, Outcome::kPass) << oracle.text;
  EXPECT_EQ(tie.count(Kind::kTie), 2) << oracle.text;
  EXPECT_NE(oracle.text.find("by a tie"), std::string::npos) << oracle.text;
  EXPECT_NE(oracle.text.find("the reference's margin is 0.02"), std::string::npos) << oracle.text;
  // And the reference itself chooses the other one in the server's type.
  oracle.recording = two_highest_apart(0.02, 0.04);
  oracle.on_logits = nullptr;
  EXPECT_EQ(oracle.compare().outcome, Outcome::kPass) << oracle.text;
  EXPECT_NE(oracle.text.find("in the server's type"), std::string::npos) << oracle.text;
}

TEST(Served, ServersThatFail) {
  using Answer = std::function<void(const FakeRequest&, const Send&, const FakeServer*)>;
  const std::pair<const char*, Answer> cases[] = {
      {"HTTP 500: out of memory",
       [](const FakeRequest&, const Send& send, const FakeServer*) {
         send(http_answer(500, R"({"error":{"message":"out of memory"}})"));
       }},
      {"expected JSON", [](const FakeRequest&, const Send& send,
                           const FakeServer*) { send(http_answer(200, "<html>")); }},
      {"then cut off",
       [](const FakeRequest&, const Send& send, const FakeServer*) {
         send("HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{\"choices\"");
       }},
      {"nothing came for",
       [](const FakeRequest&, const Send&, const FakeServer* self) {
         while (!self->ends()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
       }},
      {"HTTP 404: no such model",
       [](const FakeRequest&, const Send& send, const FakeServer*) {
         send(http_answer(404, R"({"error":{"message":"no such model"}})"));
       }},
  };
  for (const auto& [reason, answer] : cases) {
    const FakeServer* self = nullptr;
    FakeServer server([&, &say = answer](const FakeRequest& request, const Send& send) {
      say(request, send, self);
    });
    self = &server;
    Oracle oracle;
    const ServedReport report = oracle.compare_with(server, "bfloat16", 100);
    EXPECT_EQ(report.outcome, Outcome::kUndecided) << oracle.text;
    EXPECT_EQ(report.n_compared(), 0);
    EXPECT_NE(oracle.text.find(reason), std::string::npos) << oracle.text;
  }
}

TEST(Served, OneFailureAmongAnswersIsNoPass) {
  Oracle oracle;
  FakeServer server([&](const FakeRequest& request, const Send& send) {
    const Json body = Json::parse(request.body);
    const bool fails = body["prompt"].size() == 20;
    send(fails ? http_answer(500, "{}") : http_answer(200, oracle.answer(body).dump()));
  });
  const ServedReport report = oracle.compare_with(server);
  EXPECT_EQ(report.outcome, Outcome::kUndecided) << oracle.text;
  EXPECT_EQ(report.n_compared(), 4);
}

TEST(Served, WhatTheRecordingLacks) {
  Oracle oracle;
  FakeServer server([&](const FakeRequest& request, const Send& send) {
    send(http_answer(200, oracle.answer(Json::parse(request.body)).dump()));
  });
  client::ApiClient api(client::Target::at("--base-url", server.url()));
  ServedTokens tokens(nullptr);
  ServedOptions options;
  options.prompts = {{5, 6, 7}};
  EXPECT_THROW(compare_served(api, "m", oracle.recording, options, tokens), Error);
  options.prompts.clear();
  options.long_prompt = {5, 6, 7};
  EXPECT_THROW(compare_served(api, "m", oracle.recording, options, tokens), Error);
  const Recording empty;
  EXPECT_THROW(compare_served(api, "m", empty, {}, tokens), Error);
  // Positions that the reference has none of, and no prompt: nothing is no pass.
  options = {};
  options.positions = {500};
  options.prompts = {oracle.recording.runs.front().info.prompt_ids};
  const ServedReport report = compare_served(api, "m", oracle.recording, options, tokens);
  EXPECT_EQ(report.outcome, Outcome::kPass) << "the prompt itself was compared";
  EXPECT_EQ(report.count(Kind::kUnasked), 1);
}

}  // namespace
}  // namespace lockstep::parity
