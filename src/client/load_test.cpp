// Streams of several dialects timed, figures computed by hand, and load on a server of the tests'.
#include "client/load.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <set>
#include <thread>

#include "client/fake_server_test_util.h"
#include "client/load_report.h"
#include "client/stream_times.h"
#include "client/workload.h"

namespace lockstep::client {
namespace {

using std::chrono::milliseconds;
using test::FakeRequest;
using test::FakeServer;
using test::http_answer;
using test::Send;

HttpReply success() {
  HttpReply reply;
  reply.status = 200;
  return reply;
}

/// A part of `text` every 10 ms.
RequestTimes times_of(const std::vector<std::string>& parts, const HttpReply& reply = success()) {
  const StreamTimes::Clock::time_point due{};
  StreamTimes stream(due);
  auto now = due;
  for (const std::string& part : parts) {
    now += milliseconds(10);
    if (!stream.feed("data: " + part + "\n\n", now)) break;
  }
  return stream.finish(reply, now + milliseconds(10));
}

TEST(StreamTimes, Dialects) {
  const std::string end = R"({"choices":[{"delta":{},"finish_reason":"length"}]})";
  const RequestTimes chat =
      times_of({R"({"choices":[{"delta":{"role":"assistant","content":""}}]})",
                R"({"choices":[{"delta":{"content":"a"}}]})",
                R"({"choices":[{"delta":{"content":"b"}}]})", end,
                R"({"choices":[],"usage":{"prompt_tokens":7,
                                          "completion_tokens":3}})",
                "[DONE]"});
  EXPECT_EQ(chat.failure, "");
  EXPECT_DOUBLE_EQ(chat.ttft, 0.02) << "the role is no token";
  ASSERT_EQ(chat.gaps.size(), 1u);
  EXPECT_DOUBLE_EQ(chat.gaps[0], 0.01);
  EXPECT_EQ(chat.output_tokens, 3);
  EXPECT_EQ(chat.prompt_tokens, 7);
  EXPECT_EQ(chat.counted_by, "usage");
  EXPECT_DOUBLE_EQ(chat.e2e, 0.07);

  const RequestTimes llama = times_of({R"({"choices":[{"text":"a"}]})",
                                       R"({"choices":[{"text":"","finish_reason":"stop"}],"timings":
                                           {"cache_n":2,"prompt_n":3,"predicted_n":4}})",
                                       "[DONE]"});
  EXPECT_EQ(llama.counted_by, "timings");
  EXPECT_EQ(llama.output_tokens, 4);
  EXPECT_EQ(llama.prompt_tokens, 5);

  const RequestTimes silent =
      times_of({R"({"choices":[{"text":"a"}]})", R"({"choices":[{"text":"b"}]})", "[DONE]"});
  EXPECT_EQ(silent.counted_by, "parts");
  EXPECT_EQ(silent.output_tokens, 2);
}

TEST(StreamTimes, Failures) {
  const std::string token = R"({"choices":[{"text":"a"}]})";
  EXPECT_EQ(times_of({token}).failure, "the stream broke off");
  EXPECT_EQ(times_of({token, R"({"choices":[{"text":"","finish_reason":"stop"}]})"}).failure,
            "the stream ended without [DONE]");
  EXPECT_EQ(times_of({"[DONE]"}).failure, "no token came");
  EXPECT_EQ(times_of({}).failure, "the stream broke off");
  EXPECT_EQ(times_of({token, R"({"error":{"message":"died"}})", token, "[DONE]"}).failure,
            "an error in the stream: died");
  for (const char* wrong : {"{", "[1]", "3", "{\"choices\":"}) {
    EXPECT_NE(times_of({wrong, "[DONE]"}).failure.find("no JSON object"), std::string::npos)
        << wrong;
  }
  HttpReply refused;
  refused.status = 429;
  refused.url = "http://h";
  refused.body = R"({"error":"busy"})";
  EXPECT_EQ(times_of({}, refused).failure, "http://h: HTTP 429: busy");
}

TEST(Figures, ByHand) {
  const Distribution d({4, 1, 3, 2});
  EXPECT_DOUBLE_EQ(d.quantile(0), 1);
  EXPECT_DOUBLE_EQ(d.quantile(0.5), 2.5) << "as numpy.percentile([1, 2, 3, 4], 50)";
  EXPECT_DOUBLE_EQ(d.quantile(0.9), 3.7);
  EXPECT_DOUBLE_EQ(d.quantile(1), 4);
  EXPECT_DOUBLE_EQ(d.mean(), 2.5);
  EXPECT_DOUBLE_EQ(Distribution().quantile(0.5), 0);

  LevelTimes round;
  round.seconds = 2;
  for (int i = 0; i < 3; ++i) {
    RequestTimes times;
    times.ttft = 0.1 * (i + 1);
    times.e2e = 1.1;
    times.output_tokens = i == 2 ? 3 : 11;
    times.counted_by = "usage";
    round.requests.push_back(times);
  }
  round.requests.emplace_back().failure = "gone";
  const ServiceLevel service = ServiceLevel::parse({"ttft:200", "tpot:100"});
  const LevelSummary summary = summarise({round}, {11, 11, 11, 11}, service);
  EXPECT_EQ(summary.n_ok, 3);
  EXPECT_EQ(summary.n_failed, 1);
  EXPECT_EQ(summary.failures.at("gone"), 1);
  EXPECT_EQ(summary.n_short, 1);
  EXPECT_EQ(summary.output_tokens, 25);
  EXPECT_DOUBLE_EQ(summary.output_tokens_per_s(), 12.5);
  EXPECT_EQ(summary.n_good, 2) << "the third is late and slow";
  EXPECT_DOUBLE_EQ(summary.good_per_s(), 1);
  EXPECT_DOUBLE_EQ(summary.tpot.quantile(0), 90) << "1.1 - 0.2 s over ten tokens";

  LevelSummary half = summary;
  half.output_tokens = 50;
  const std::vector<Ratio> all = ratios({summary, summary}, {half, summary});
  ASSERT_FALSE(all.empty());
  EXPECT_EQ(all[0].name, "output tokens/s");
  EXPECT_DOUBLE_EQ(all[0].least, 0.5);
  EXPECT_DOUBLE_EQ(all[0].median, 0.75);
  EXPECT_DOUBLE_EQ(all[0].most, 1);
}

TEST(Workload, SameForASeedAndOfTheLengthsAsked) {
  WorkloadOptions options;
  options.prompt_tokens = LengthRange::parse("--x", "3:5");
  options.output_tokens = LengthRange::parse("--x", "7");
  options.vocabulary = {10, 20, 30};
  const auto a = make_requests(options, 50, 1), b = make_requests(options, 50, 1),
             c = make_requests(options, 50, 2);
  std::set<size_t> lengths;
  int n_same = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].prompt, b[i].prompt);
    n_same += a[i].prompt == c[i].prompt ? 1 : 0;
    lengths.insert(a[i].prompt.size());
    EXPECT_EQ(a[i].max_tokens, 7);
  }
  EXPECT_LT(n_same, 10);
  EXPECT_EQ(lengths, (std::set<size_t>{3, 4, 5}));
  options.vocabulary.clear();
  options.tokens_a_word = 2;
  options.prompt_tokens = {20, 20};
  const std::string text = make_requests(options, 1, 1)[0].prompt;
  EXPECT_EQ(std::ranges::count(text, ' '), 9) << "ten words of two tokens";
  for (const char* wrong : {"", "0", "-1", "3:", ":3", "5:3", "1:2:3", "x", "99999999999"}) {
    EXPECT_THROW(LengthRange::parse("--x", wrong), Error) << wrong;
  }
}

TEST(Load, LoopsKeepWhatTheySay) {
  std::atomic<int> n_at_once = 0, most = 0;
  FakeServer server([&](const FakeRequest&, const Send& send) {
    const int n = ++n_at_once;
    int seen = most;
    while (seen < n && !most.compare_exchange_weak(seen, n)) {
    }
    send(test::stream_head() + "data: {\"choices\":[{\"text\":\"a\"}]}\n\n");
    std::this_thread::sleep_for(milliseconds(30));
    --n_at_once;
    send(
        "data: {\"choices\":[{\"text\":\"b\"}],\"usage\":{\"completion_tokens\":2}}\n\n"
        "data: [DONE]\n\n");
  });
  LoadServer asked{Target::at("--base-url", server.url()), "m"};
  const std::vector<LoadRequest> requests(30, LoadRequest{"hello", 2});
  const LevelTimes closed = run_level(asked, {LoadLevel::Kind::kClosed, 3}, requests, 1);
  EXPECT_EQ(most, 3);
  for (const RequestTimes& times : closed.requests) {
    EXPECT_EQ(times.failure, "");
    EXPECT_GE(times.e2e, 0.025);
    EXPECT_LT(times.ttft, times.e2e);
  }
  EXPECT_GE(closed.seconds, 0.25) << "ten times 30 ms";

  // Thirty arrivals at 100/s take 0.29 s in the mean; the same seed gives the same times.
  const LevelTimes open = run_level(asked, {LoadLevel::Kind::kOpen, 100}, requests, 7);
  const LevelTimes again = run_level(asked, {LoadLevel::Kind::kOpen, 100}, requests, 7);
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_EQ(open.requests[i].failure, "");
    EXPECT_NEAR(open.requests[i].start, again.requests[i].start, 1e-6);
    EXPECT_TRUE(i == 0 || open.requests[i].start > open.requests[i - 1].start);
  }
  EXPECT_GT(open.requests.back().start, 0.1);
  EXPECT_LT(open.requests.back().start, 0.9);
}

TEST(Load, DialectIsLearnt) {
  for (const std::string refused : {"nothing", "ignore_eos", "stream_options"}) {
    FakeServer server([&](const FakeRequest& request, const Send& send) {
      if (request.body.find('"' + refused + '"') != std::string::npos) {
        send(http_answer(422, R"({"detail":"unknown field"})"));
      } else {
        send(test::stream_head() +
             "data: {\"choices\":[{\"text\":\"a\"}],\"usage\":"
             "{\"prompt_tokens\":9,\"completion_tokens\":1}}\n\ndata: [DONE]\n\n");
      }
    });
    LoadServer asked{Target::at("--base-url", server.url()), "m"};
    EXPECT_EQ(learn_dialect(asked, {"hello", 1}), 9);
    EXPECT_EQ(asked.ignores_eos, refused == "nothing");
    EXPECT_EQ(asked.reports_usage, refused != "stream_options");
  }
  FakeServer down([](const FakeRequest&, const Send& send) { send(http_answer(500, "{}")); });
  LoadServer asked{Target::at("--base-url", down.url()), "m"};
  EXPECT_THROW(learn_dialect(asked, {"hello", 1}), Error);
}

}  // namespace
}  // namespace lockstep::client
