// The engine's promise: a request's tokens are its own, whoever else is in the batch, whatever was
// in the cache, however often it was preempted. And what it owes a server: order, ends, pages back.
#include <thread>

#include "engine_support.h"

namespace lockstep::test {
namespace {

void expect_all_given_back(Engine& engine) {
  const EngineStats stats = engine.stats();
  EXPECT_EQ(stats.n_running, 0);
  EXPECT_EQ(stats.n_waiting, 0);
  EXPECT_EQ(stats.n_pages_used, 0);
  EXPECT_EQ(stats.n_states_used, 0);
}

struct Schedule {
  const char* name;
  EngineOptions options;
  size_t n_requests;
  double cancelled = 0;   // share of requests that are cancelled at a random event
  size_t at_once = 1000;  // requests alive
};

struct Tally {
  size_t n_compared = 0, n_tokens = 0, n_different = 0, n_cancelled = 0;
  size_t n_other_bits = 0;  // of the logprobs
  EngineStats stats;
};

// Submits, keeps `at_once` alive, and compares every text with that of the same request alone; a
// cancelled one as far as it came.
void run_schedule(const std::string& model, const Schedule& schedule, AloneText& alone,
                  RandomRequests& random, Tally& tally) {
  EngineClient client(model, schedule.options);
  std::vector<std::pair<uint64_t, Request>> sent;
  std::atomic<size_t> n_alive = 0;
  for (size_t i = 0; i < schedule.n_requests; ++i) {
    while (n_alive >= schedule.at_once) std::this_thread::yield();
    ++n_alive;
    const Request& request = random.next();
    const bool cancels = static_cast<double>(random.below(1000)) < 1000 * schedule.cancelled;
    const size_t at = cancels ? random.below(6) : SIZE_MAX;
    Engine& engine = client.engine();
    const uint64_t id = client.submit(request, [&n_alive, &engine, at](const TokenEvent& event) {
      if (static_cast<size_t>(event.n_output_tokens) == at) engine.cancel(event.id);
      if (event.finish != FinishReason::kNone) --n_alive;
    });
    if (at == 0) engine.cancel(id);
    sent.emplace_back(id, request);
  }
  client.wait();
  for (const auto& [id, request] : sent) {
    const RequestOutcome& outcome = client.outcome(id);
    if (!outcome.is_over()) {
      ADD_FAILURE() << "request " << id << " has no end";
      continue;
    }
    const AloneText::Text& text = alone.of(request);
    size_t n = text.tokens.size();
    if (outcome.last().finish == FinishReason::kAbort) {
      ++tally.n_cancelled;
      EXPECT_LE(outcome.tokens.size(), n);
      n = std::min(n, outcome.tokens.size());
    }
    ++tally.n_compared;
    tally.n_tokens += n;
    ASSERT_EQ(outcome.tokens.size(), n);
    ASSERT_EQ(outcome.logprobs.size(), n);
    for (size_t i = 0; i < n; ++i) {
      tally.n_different += outcome.tokens[i] != text.tokens[i];
      tally.n_other_bits += outcome.logprobs[i] != text.logprobs[i];
    }
  }
  expect_all_given_back(client.engine());
  tally.stats = client.engine().stats();
  printf(
      "  %s: %zu requests, %zu tokens, %zu differ; %zu cancelled, %zu preemptions, %zu of %zu "
      "prompt tokens from the cache\n",
      schedule.name, tally.n_compared, tally.n_tokens, tally.n_different, tally.n_cancelled,
      static_cast<size_t>(tally.stats.n_preemptions),
      static_cast<size_t>(tally.stats.n_prefix_hits),
      static_cast<size_t>(tally.stats.n_prefix_queries));
}

TEST(EngineTest, TwoThousandRequestsOfStorytellerHaveTheirOwnTokens) {
  AloneText alone("storyteller");
  RandomRequests random(1, alone.vocab_size(), 160, 90, 24),
      longer(2, alone.vocab_size(), 60, 32, 60);
  EngineOptions batch;
  EngineOptions without_cache;
  without_cache.prefix_caching = false;
  without_cache.max_prefill_chunk = 7;
  EngineOptions small;
  small.max_batch_size = 24;
  small.max_batched_tokens = 40;
  small.cache_tokens = 320;
  small.page_size = 4;
  EngineOptions one;
  one.max_batch_size = 1;
  const Schedule schedules[] = {{"one at a time", one, 150, 0, 1},
                                {"with 64 others", batch, 700},
                                {"without the prefix cache, small chunks", without_cache, 350},
                                {"few pages", small, 500},
                                {"few pages and cancellations", small, 400, 0.3, 60}};
  Tally all;
  for (const Schedule& schedule : schedules) {
    const bool is_small = schedule.options.cache_tokens == small.cache_tokens;
    Tally tally;
    run_schedule("storyteller", schedule, alone, is_small ? longer : random, tally);
    EXPECT_EQ(tally.n_other_bits, 0u) << schedule.name;
    all.n_compared += tally.n_compared;
    EXPECT_EQ(tally.n_different, 0u) << schedule.name;
    EXPECT_EQ(tally.stats.n_preemptions > 50, is_small) << schedule.name;
    EXPECT_EQ(tally.stats.n_prefix_hits > 0, schedule.options.prefix_caching) << schedule.name;
    EXPECT_EQ(tally.n_cancelled > 0, schedule.cancelled > 0) << schedule.name;
  }
  EXPECT_GE(all.n_compared, 2000u);
}

class EngineFixtureTest : public ::testing::TestWithParam<std::string> {};

TEST_P(EngineFixtureTest, TokensAreTheRequestsOwn) {
  AloneText alone(GetParam());
  RandomRequests random(7, alone.vocab_size(), 25, 100, 12),
      longer(8, alone.vocab_size(), 15, 28, 50);
  EngineOptions batch;
  batch.max_batch_size = 12;
  batch.max_batched_tokens = 64;
  batch.max_snapshots = 6;
  EngineOptions small = batch;
  small.max_length = small.cache_tokens = 120;
  small.page_size = 4;
  const Schedule schedules[] = {{"batch", batch, 50}, {"few pages", small, 60, 0.2, 30}};
  for (const Schedule& schedule : schedules) {
    const bool is_small = schedule.options.cache_tokens == small.cache_tokens;
    Tally tally;
    run_schedule(GetParam(), schedule, alone, is_small ? longer : random, tally);
    EXPECT_EQ(tally.n_other_bits, 0u) << schedule.name;
    EXPECT_EQ(tally.n_different, 0u) << schedule.name;
    EXPECT_GT(tally.stats.n_prefix_hits, 0u) << schedule.name;
    EXPECT_EQ(tally.stats.n_preemptions > 0, is_small && tally.stats.n_pages > 0) << schedule.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, EngineFixtureTest, ::testing::ValuesIn(golden_fixtures()),
                         [](const auto& fixture_name) { return fixture_name.param; });

TEST(EngineTest, BFloat16DiffersOnlyWhereTheMarginIsBelowTheFloor) {
  AloneText alone("storyteller", DType::kBFloat16);
  RandomRequests random(3, alone.vocab_size(), 150, 90, 24);
  EngineOptions options;
  EngineClient client("storyteller", options, DType::kBFloat16);
  std::vector<std::pair<uint64_t, Request>> sent;
  for (int i = 0; i < 300; ++i) {
    const Request& request = random.next();
    sent.emplace_back(client.submit(request), request);
  }
  client.wait();
  size_t n_different = 0;
  for (const auto& [id, request] : sent) {
    const AloneText::Text& text = alone.of(request);
    const std::vector<int32_t>& tokens = client.outcome(id).tokens;
    const size_t n = std::min(tokens.size(), text.tokens.size());
    const auto at = static_cast<size_t>(
        std::mismatch(tokens.begin(), tokens.begin() + n, text.tokens.begin()).first -
        tokens.begin());
    if (at == n) continue;
    ++n_different;
    printf("  request %zu: token %zu of %zu differs, margin %.3f\n", static_cast<size_t>(id), at,
           text.tokens.size(), text.margins[at]);
    // One ulp of a bfloat16 logit between 8 and 16; those met with were ties.
    EXPECT_LE(text.margins[at], 0.0625);
  }
  printf("  %zu of %zu requests differ\n", n_different, sent.size());
}

TEST(EngineTest, PromptLogprobsAreThoseOfAllRows) {
  const Golden golden("storyteller");
  EngineOptions options;
  options.max_batched_tokens = 64;  // several chunks
  EngineClient client("storyteller", options);
  Pipeline pipeline = open_pipeline(fixture("storyteller").string(), DType::kFloat32);
  for (const std::vector<int32_t>& ids : {golden.prompt(0), golden.long_ids()}) {
    const std::vector<double> logits = all_logits(pipeline, ids);
    for (const int64_t max_tokens : {0, 2}) {
      Request request = greedy_request(ids, max_tokens);
      request.params.ignore_eos = true;
      request.params.prompt_logprobs = 3;
      request.params.logprobs = 0;
      const RequestOutcome& outcome = client.run(request);
      ASSERT_EQ(outcome.events.size(), std::max<size_t>(1, max_tokens));
      EXPECT_EQ(outcome.tokens.size(), static_cast<size_t>(max_tokens));
      EXPECT_EQ(outcome.last().finish, FinishReason::kLength);
      ASSERT_TRUE(outcome.events[0].prompt_logprobs);
      const std::vector<PositionLogprobs>& positions = *outcome.events[0].prompt_logprobs;
      ASSERT_EQ(positions.size(), ids.size() - 1);
      const size_t n = pipeline.vocab_size();
      for (size_t i = 0; i < positions.size(); ++i) {
        const std::span<const double> row(logits.data() + i * n, n);
        double sum = 0;
        for (const double x : row) sum += std::exp(x);
        EXPECT_EQ(positions[i].chosen.id, ids[i + 1]);
        EXPECT_NEAR(positions[i].chosen.logprob, row[ids[i + 1]] - std::log(sum), 1e-5);
        ASSERT_EQ(positions[i].top.size(), 3u);
        EXPECT_EQ(positions[i].top[0].id, std::ranges::max_element(row) - row.begin());
      }
    }
  }
}

TEST(EngineTest, EmbeddingsArePooledHiddenStates) {
  const std::vector<int32_t> ids = Golden("storyteller").long_ids();
  Pipeline pipeline = open_pipeline(fixture("storyteller").string(), DType::kFloat32);
  std::vector<double> hidden;
  pipeline.observe({*pipeline.hidden_states()},
                   [&](ValueId, const View& rows) { hidden = to_doubles(rows); });
  all_logits(pipeline, ids);
  const size_t width = hidden.size() / ids.size();
  EngineOptions options;
  options.max_batched_tokens = 64;
  EngineClient client("storyteller", options);
  // Beside one another and a text, and after one another, when the prompt is known.
  for (int round = 0; round < 2; ++round) {
    std::map<Pooling, uint64_t> sent;
    for (const Pooling pooling : {Pooling::kLast, Pooling::kMean, Pooling::kCls}) {
      Request request = greedy_request(ids, 0);
      request.pooling = pooling;
      sent[pooling] = client.submit(request);
      client.submit(greedy_request({5, 6, 7}, 9));
    }
    client.wait();
    for (const auto& [pooling, id] : sent) {
      const std::vector<float>& embedding = client.outcome(id).last().embedding;
      ASSERT_EQ(embedding.size(), width);
      for (size_t i = 0; i < width; ++i) {
        double expected = 0;
        for (size_t row = 0; row < ids.size(); ++row) {
          expected += hidden[row * width + i] / static_cast<double>(ids.size());
        }
        if (pooling == Pooling::kCls) expected = hidden[i];
        if (pooling == Pooling::kLast) expected = hidden[(ids.size() - 1) * width + i];
        EXPECT_NEAR(embedding[i], expected, 1e-6);
      }
    }
    EXPECT_EQ(client.outcome(sent[Pooling::kLast]).last().n_cached_tokens > 0, round == 1);
    EXPECT_EQ(client.outcome(sent[Pooling::kMean]).last().n_cached_tokens, 0);
  }
}

TEST(EngineTest, SeedsGiveTheSameTokensWhateverTheBatch) {
  RandomRequests random(5, 957, 20, 60, 30);
  const auto sampled = [&](int i) {
    Request request = random.next();
    request.params.temperature = 0.7 + 0.2 * (i % 4);
    request.params.top_k = i % 3 == 0 ? 20 : 0;
    request.params.top_p = i % 2 == 0 ? 0.9 : 1;
    request.params.repetition_penalty = i % 5 == 0 ? 1.2 : 1;
    request.params.seed = i;
    return request;
  };
  std::vector<Request> requests;
  for (int i = 0; i < 40; ++i) requests.push_back(sampled(i));
  EngineOptions one, small;
  one.max_batch_size = 1;
  small.max_batch_size = 16;
  small.max_batched_tokens = 32;
  small.cache_tokens = 300;
  small.page_size = 4;
  EngineClient alone("storyteller", one), together("storyteller", small);
  std::vector<uint64_t> ids;
  for (const Request& request : requests) ids.push_back(together.submit(request));
  together.wait();
  EXPECT_GT(together.engine().stats().n_preemptions, 0u);
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_EQ(together.outcome(ids[i]).tokens, alone.run(requests[i]).tokens) << i;
  }
  Request other = requests[1];
  other.params.seed = 1000;
  EXPECT_NE(alone.run(other).tokens, together.outcome(ids[1]).tokens);
}

TEST(EngineTest, TextEndsAtEndTokensStopTokensAndLengths) {
  EngineOptions options;
  options.max_length = 32;
  EngineClient client("storyteller", options);
  AloneText alone("storyteller");
  Request request = greedy_request(Golden("storyteller").prompt(0), 1000);
  request.params.ignore_eos = true;
  const RequestOutcome& whole = client.run(request);
  EXPECT_EQ(whole.last().finish, FinishReason::kLength);
  EXPECT_EQ(whole.last().n_prompt_tokens + whole.last().n_output_tokens, 32);

  const int32_t third = whole.tokens[2];
  const auto first = std::ranges::find(whole.tokens, third) - whole.tokens.begin();
  request.params.stop_token_ids = {third};
  const RequestOutcome& stopped = client.run(request);
  EXPECT_EQ(stopped.tokens.size(), static_cast<size_t>(first) + 1);
  EXPECT_EQ(stopped.last().finish, FinishReason::kStop);
  EXPECT_EQ(stopped.last().stop_token, third);

  request.params.min_tokens = 6;
  const RequestOutcome& later = client.run(request);
  EXPECT_GE(later.tokens.size(), 6u);
  for (size_t i = 0; i < 6; ++i) EXPECT_NE(later.tokens[i], third);
}

class OneTokenMask : public TokenMask {
 public:
  bool allow(std::span<const int32_t> output, std::span<uint32_t> allowed) noexcept override {
    n_seen.push_back(output.size());
    const size_t id = 10 + output.size();
    allowed[id / 32] |= 1u << (id % 32);
    return output.size() < 4;
  }
  std::vector<size_t> n_seen;
};

TEST(EngineTest, AMaskIsAskedOnceAToken) {
  EngineClient client("storyteller", {});
  auto mask = std::make_shared<OneTokenMask>();
  Request request = greedy_request({5, 6, 7}, 4);
  request.mask = mask;
  EXPECT_EQ(client.run(request).tokens, (std::vector<int32_t>{10, 11, 12, 13}));
  EXPECT_EQ(mask->n_seen, (std::vector<size_t>{0, 1, 2, 3}));
  request.params.max_tokens = 10;
  request.mask = std::make_shared<OneTokenMask>();
  const RequestOutcome& failed = client.run(request);
  EXPECT_EQ(failed.last().finish, FinishReason::kError);
  ASSERT_TRUE(failed.last().error);
  EXPECT_EQ(failed.tokens.size(), 4u);
}

TEST(EngineTest, SaltsShareNothing) {
  EngineClient client("storyteller", {});
  Request request = greedy_request(Golden("storyteller").long_ids(), 3);
  const int64_t usable = (static_cast<int64_t>(request.prompt_ids.size()) - 1) / 16 * 16;
  EXPECT_EQ(client.run(request).last().n_cached_tokens, 0);
  EXPECT_EQ(client.run(request).last().n_cached_tokens, usable);
  request.cache_salt = "another";
  EXPECT_EQ(client.run(request).last().n_cached_tokens, 0);
  EXPECT_EQ(client.run(request).last().n_cached_tokens, usable);
}

TEST(EngineTest, StatesAreFoundWhereTextsPart) {
  EngineClient client("mamba2", {});
  std::vector<int32_t> beginning = Golden("mamba2").long_ids();
  beginning.resize(64);
  const auto with_end = [&](int32_t end) {
    std::vector<int32_t> prompt = beginning;
    for (int32_t i = 0; i < 40; ++i) prompt.push_back(end + i);
    return greedy_request(prompt, 2);
  };
  // The first leaves no state at 64; the second finds that texts part there; the third goes on
  // from it.
  EXPECT_EQ(client.run(with_end(100)).last().n_cached_tokens, 0);
  EXPECT_EQ(client.run(with_end(200)).last().n_cached_tokens, 0);
  EXPECT_EQ(client.run(with_end(300)).last().n_cached_tokens, 64);
  EXPECT_EQ(client.run(with_end(100)).last().n_cached_tokens, 96);
}

TEST(EngineTest, ATextThatGoesOnIsFoundWithItsOutput) {
  for (const char* model : {"storyteller", "mamba2"}) {
    EngineClient client(model, {});
    Request request = greedy_request(Golden(model).long_ids(), 40);
    request.prompt_ids.resize(20);
    request.params.ignore_eos = true;
    std::vector<int32_t> text = request.prompt_ids;
    const RequestOutcome& first = client.run(request);
    text.insert(text.end(), first.tokens.begin(), first.tokens.end());
    text.insert(text.end(), {5, 6, 7});
    // 59 tokens were computed, three full blocks of 16.
    EXPECT_EQ(client.run(greedy_request(text, 2)).last().n_cached_tokens, 48) << model;
  }
}

TEST(EngineTest, ASinkMaySubmitAndCancel) {
  EngineClient client("storyteller", {});
  const Request request = greedy_request({5, 6, 7}, 4);
  std::atomic<uint64_t> next = 0;
  const uint64_t first = client.submit(request, [&](const TokenEvent& event) {
    client.engine().stats();
    if (event.finish != FinishReason::kNone) next = client.submit(request);
    client.engine().cancel(1000);
  });
  while (next == 0) std::this_thread::yield();
  client.wait();
  EXPECT_EQ(client.outcome(next).tokens, client.outcome(first).tokens);
}

TEST(EngineTest, AStepThatFailsEndsThoseInItAndNobodyElse) {
  // oneDNN's rows depend on one another, so no float32 step takes it.
  EngineOptions options;
  options.max_batch_size = 2;
  EngineClient client("storyteller", options, DType::kFloat32,
                      KernelPolicy::parse("linear=onednn", false));
  std::vector<uint64_t> ids;
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 5; ++i) ids.push_back(client.submit(greedy_request({5, 6, 7}, 4)));
    client.wait();
  }
  for (const uint64_t id : ids) {
    const TokenEvent& last = client.outcome(id).last();
    EXPECT_EQ(last.finish, FinishReason::kError);
    ASSERT_TRUE(last.error);
    EXPECT_NE(last.error->message().find("onednn"), std::string::npos) << last.error->message();
  }
  expect_all_given_back(client.engine());
}

TEST(EngineTest, APlanSaysWhichOptionCannotBe) {
  const Model model = Model::open(fixture("storyteller").string(), Registry(), DType::kFloat32);
  const auto refusal = [&](auto change) -> std::string {
    EngineOptions options;
    change(options);
    try {
      plan_engine(model, options);
    } catch (const Error& error) {
      return error.message();
    }
    return "";
  };
  EXPECT_EQ(refusal([](EngineOptions& o) { o.max_batch_size = 0; }),
            "max_batch_size: expected 1 or more, found 0");
  EXPECT_EQ(refusal([](EngineOptions& o) { o.max_batched_tokens = 63; }),
            "max_batched_tokens: expected at least max_batch_size (64), found 63");
  EXPECT_EQ(refusal([](EngineOptions& o) { o.max_length = 1025; }),
            "max_length: expected at most 1024 (max_position_embeddings), found 1025");
  EXPECT_EQ(refusal([](EngineOptions& o) { o.max_length = 64, o.cache_tokens = 32; }),
            "max_length: expected at most the 32 tokens that the caches hold (cache_tokens), "
            "found 64");
  EXPECT_EQ(refusal([](EngineOptions& o) { o.cache_tokens = -1; }),
            "cache_tokens: expected 0 or more, found -1");
  EXPECT_EQ(refusal([](EngineOptions&) {}), "");
  // Six layers, keys and values, 2 heads of 32 floats.
  const EnginePlan plan = plan_engine(model, {}, 3 << 20);
  EXPECT_EQ(plan.cache_bytes_a_token, 6u * 2 * 2 * 32 * 4);
  EXPECT_EQ(plan.options.cache_tokens, (1 << 20) / 3072);
  EXPECT_EQ(plan.options.max_length, plan.options.cache_tokens);
  EXPECT_EQ(plan_engine(model, {}).options.cache_tokens, 64 * 1024);
}

TEST(EngineTest, PriorityGoesFirstThenArrival) {
  EngineOptions options;
  options.max_batch_size = 1;
  EngineClient client("storyteller", options);
  std::vector<uint64_t> order;
  std::mutex mutex;
  const auto note = [&](const TokenEvent& event) {
    const std::lock_guard lock(mutex);
    if (event.finish != FinishReason::kNone) order.push_back(event.id);
  };
  std::vector<uint64_t> ids;
  Request first = greedy_request({5, 6}, 200);
  first.params.ignore_eos = true;
  first.priority = -100;
  ids.push_back(client.submit(first, note));
  for (const int32_t priority : {1, 0, -1, 0}) {
    Request request = greedy_request({5, 6, 7}, 3);
    request.priority = priority;
    ids.push_back(client.submit(request, note));
  }
  client.wait();
  EXPECT_EQ(order, (std::vector<uint64_t>{ids[0], ids[3], ids[2], ids[4], ids[1]}));
}

TEST(EngineTest, DeadlinesCancellationAndStopEndRequests) {
  EngineOptions options;
  options.max_batch_size = 2;
  options.max_waiting = 8;
  EngineClient client("storyteller", options);
  Request endless = greedy_request({5, 6}, 1000);
  endless.params.ignore_eos = true;
  Request overdue = endless;
  overdue.deadline = Clock::now() + std::chrono::milliseconds(30);
  const uint64_t late = client.submit(overdue);
  const uint64_t cancelled = client.submit(endless);
  const uint64_t waiting = client.submit(endless);
  client.engine().cancel(waiting);
  client.engine().cancel(cancelled);
  client.engine().cancel(12345);
  client.wait();
  EXPECT_EQ(client.outcome(late).last().finish, FinishReason::kTimeout);
  EXPECT_EQ(client.outcome(cancelled).last().finish, FinishReason::kAbort);
  EXPECT_EQ(client.outcome(waiting).last().finish, FinishReason::kAbort);
  expect_all_given_back(client.engine());

  const uint64_t stopped = client.submit(endless);
  client.engine().drain();
  EXPECT_THROW(client.submit(endless), Error);
  client.engine().stop();
  EXPECT_EQ(client.outcome(stopped).last().finish, FinishReason::kAbort);
  expect_all_given_back(client.engine());
}

TEST(EngineTest, AFullQueueRefuses) {
  EngineOptions options;
  options.max_batch_size = 1;
  options.max_waiting = 4;
  EngineClient client("storyteller", options);
  Request request = greedy_request({5, 6}, 900);
  request.params.ignore_eos = true;
  int n_refused = 0;
  for (int i = 0; i < 12; ++i) {
    try {
      client.submit(request);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kResourceExhausted);
      ++n_refused;
    }
  }
  EXPECT_GE(n_refused, 6);
  client.engine().stop();
}

TEST(EngineTest, ASinkThatThrowsEndsItsRequestAlone) {
  EngineClient client("storyteller", {});
  const Request request = greedy_request({5, 6, 7}, 8);
  const uint64_t thrown =
      client.submit(request, [](const TokenEvent&) { throw std::runtime_error("gone"); });
  const uint64_t other = client.submit(request);
  client.wait();
  EXPECT_TRUE(client.outcome(thrown).events.empty());
  EXPECT_EQ(client.outcome(other).tokens, AloneText("storyteller").of(request).tokens);
  expect_all_given_back(client.engine());
}

TEST(EngineTest, WhatCannotBeMetIsRefusedByName) {
  EngineOptions options;
  options.max_length = 16;
  EngineClient client("storyteller", options);
  const auto parameter = [&](auto change) {
    Request request = greedy_request({5, 6}, 4);
    change(request);
    const auto problem = client.engine().check(request);
    EXPECT_THROW(
        {
          if (problem) client.submit(request);
          throw Error(ErrorCode::kInternal, "accepted");
        },
        Error);
    return problem ? problem->parameter : "";
  };
  EXPECT_EQ(parameter([](Request& r) { r.prompt_ids.clear(); }), "prompt");
  EXPECT_EQ(parameter([](Request& r) { r.prompt_ids = {957}; }), "prompt");
  EXPECT_EQ(parameter([](Request& r) { r.prompt_ids.assign(16, 5); }), "prompt");
  EXPECT_EQ(parameter([](Request& r) {
              r.prompt_ids.assign(16, 5);
              r.params.max_tokens = 0;
            }),
            "");
  EXPECT_EQ(parameter([](Request& r) { r.params.top_p = NAN; }), "top_p");
  EXPECT_EQ(parameter([](Request& r) { r.params.logprobs = 21; }), "logprobs");
}

TEST(EngineTest, StatsCountWhatWasDone) {
  EngineClient client("storyteller", {});
  for (int i = 0; i < 3; ++i) client.submit(greedy_request({5, 6, 7}, 4));
  client.wait();
  const EngineStats stats = client.engine().stats();
  EXPECT_EQ(stats.n_prompt_tokens, 9u);
  EXPECT_EQ(stats.n_generation_tokens, stats.request_generation_tokens.sum());
  EXPECT_EQ(stats.time_to_first_token.count(), 3u);
  EXPECT_EQ(stats.request_queue_time.count(), 3u);
  EXPECT_EQ(stats.request_prefill_time.count(), 3u);
  EXPECT_EQ(stats.e2e_request_latency.count(), 3u);
  EXPECT_EQ(stats.inter_token_latency.count(), stats.n_generation_tokens - 3);
  EXPECT_EQ(stats.iteration_tokens.sum(), 9 + stats.n_generation_tokens - 3);
  EXPECT_EQ(stats.step_time.count(), stats.n_steps);
  EXPECT_EQ(stats.n_finished[static_cast<size_t>(FinishReason::kLength)] +
                stats.n_finished[static_cast<size_t>(FinishReason::kStop)],
            3u);
}

}  // namespace
}  // namespace lockstep::test
