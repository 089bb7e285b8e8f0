// The engine: tokens a second of one and of many streams, bench/model_bench.cpp being the single
// sequence without it; and what the sampler costs a row.
#include <fmt/format.h>

#include <atomic>
#include <random>
#include <vector>

#include "bench/bench.h"
#include "runtime/engine.h"
#include "runtime/sampler.h"

namespace lockstep::bench {
namespace {

constexpr int64_t kTokens = 96;  // of output, each stream

std::unique_ptr<Engine> storyteller() {
  Model model = Model::open(LOCKSTEP_SOURCE_DIR "/examples/storyteller", Registry());
  EngineOptions options;
  options.max_waiting = 1 << 16;
  const EnginePlan plan = plan_engine(model, options);
  return std::make_unique<Engine>(std::make_unique<Pipeline>(std::move(model), plan.pipeline), plan,
                                  GenerationDefaults{});
}

// The arguments are the number of streams, and whether tokens are drawn.
void streams(benchmark::State& state) {
  const std::unique_ptr<Engine> engine = storyteller();
  Request request;
  request.prompt_ids = {591, 283, 298, 682, 273};
  request.params.max_tokens = kTokens;
  request.params.temperature = state.range(1) != 0 ? 0.8 : 0;
  request.params.top_p = state.range(1) != 0 ? 0.95 : 1;
  std::atomic<int64_t> n_tokens = 0;
  for (auto _ : state) {
    for (int64_t i = 0; i < state.range(0); ++i) {
      request.prompt_ids[0] = static_cast<int32_t>(100 + i);
      engine->submit(request, [&](TokenEvent&& event) { n_tokens += event.token.has_value(); });
    }
    engine->wait_idle();
  }
  if (n_tokens != static_cast<int64_t>(state.iterations()) * state.range(0) * kTokens) {
    state.SkipWithError("tokens were lost");
  }
  const auto n = static_cast<double>(state.range(0) * kTokens);
  state.counters["tokens/s"] = benchmark::Counter(n, benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(streams)
    ->Name("storyteller/streams/drawn")
    ->ArgsProduct({{1, 8, 32, 64}, {0}})
    ->Args({32, 1})
    ->MeasureProcessCPUTime()
    ->Unit(benchmark::kMillisecond)
    ->Apply(spread);

enum class Wanted : int64_t { kGreedy, kTemperature, kTopK, kTopP, kPenalties, kLogprobs };

SamplingParams params_for(Wanted wanted) {
  SamplingParams params;
  params.temperature = wanted == Wanted::kGreedy || wanted == Wanted::kLogprobs ? 0 : 0.8;
  if (wanted == Wanted::kTopK) params.top_k = 50;
  if (wanted == Wanted::kTopP) params.top_p = 0.95;
  if (wanted == Wanted::kPenalties) params.repetition_penalty = 1.1;
  return params;
}

// 32 rows of a vocabulary of 151,936, one thread.
void sample(benchmark::State& state) {
  constexpr int64_t kVocab = 151936, kRows = 32;
  const auto wanted = static_cast<Wanted>(state.range(0));
  std::minstd_rand random(1);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> logits(kRows * kVocab);
  for (float& x : logits) x = normal(random);
  const int64_t shape[] = {kRows, kVocab};
  const View view = make_view(logits.data(), DType::kFloat32, shape);
  ThreadPool pool(1);
  Sampler sampler(kVocab, pool);
  const std::vector<int32_t> prompt(500, 7);
  std::vector<TokenChoice> choices;
  for (int64_t i = 0; i < kRows; ++i) {
    choices.emplace_back(params_for(wanted), prompt, std::vector<int32_t>{}, i, nullptr);
  }
  std::vector<SampleJob> jobs(kRows);
  for (auto _ : state) {
    for (int64_t i = 0; i < kRows; ++i) {
      jobs[i] = {.row = i, .choice = &choices[i], .n_logprobs = {}};
      if (wanted == Wanted::kLogprobs) jobs[i].n_logprobs = 5;
    }
    sampler.run(view, jobs);
    if (!jobs.back().token) state.SkipWithError("no token");
  }
  state.counters["us/row"] = benchmark::Counter(
      kRows * 1e-6, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}
BENCHMARK(sample)
    ->Name("sample/greedy_temperature_topk_topp_penalties_logprobs")
    ->DenseRange(0, 5)
    ->Unit(benchmark::kMillisecond)
    ->Apply(spread);

}  // namespace
}  // namespace lockstep::bench
