// What tests of the engine share: a client that collects events, and the text a request gets alone.
#pragma once

#include <condition_variable>
#include <map>
#include <mutex>
#include <random>

#include "runtime/engine.h"
#include "runtime/logprobs.h"
#include "support.h"

namespace lockstep::test {

/// What came of one request.
struct RequestOutcome {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;  // of the tokens, where asked for
  std::vector<TokenEvent> events;
  const TokenEvent& last() const { return events.back(); }
  bool is_over() const { return !events.empty() && last().finish != FinishReason::kNone; }
};

/// An engine of its own for a test, and what its requests got.
class EngineClient {
 public:
  explicit EngineClient(const std::string& model, const EngineOptions& options,
                        DType dtype = DType::kFloat32, KernelPolicy kernels = {}) {
    Model opened = Model::open(fixture(model).string(), Registry(), dtype);
    const GenerationDefaults defaults =
        read_generation_defaults(opened.files.folder, opened.files.config);
    EnginePlan plan = plan_engine(opened, options);
    plan.pipeline.kernels = std::move(kernels);
    auto pipeline = std::make_unique<Pipeline>(std::move(opened), plan.pipeline);
    engine_ = std::make_unique<Engine>(std::move(pipeline), plan, defaults);
  }
  ~EngineClient() { engine_->stop(); }

  /// `react` is called with each event, on the engine's thread.
  uint64_t submit(Request request, const std::function<void(const TokenEvent&)>& react = {}) {
    return engine_->submit(std::move(request), [this, react](TokenEvent&& event) {
      if (react) react(event);
      const std::lock_guard lock(mutex_);
      RequestOutcome& outcome = outcomes_[event.id];
      EXPECT_FALSE(outcome.is_over()) << "an event after the last of request " << event.id;
      if (event.token) outcome.tokens.push_back(*event.token);
      if (event.logprobs) outcome.logprobs.push_back(event.logprobs->chosen.logprob);
      outcome.events.push_back(std::move(event));
    });
  }
  /// Waits until the engine has nothing left.
  void wait() { EXPECT_TRUE(engine_->wait_idle(Clock::now() + std::chrono::minutes(5))); }
  const RequestOutcome& outcome(uint64_t id) {
    const std::lock_guard lock(mutex_);
    return outcomes_[id];
  }
  const RequestOutcome& run(Request request) {
    const uint64_t id = submit(std::move(request));
    wait();
    return outcome(id);
  }
  Engine& engine() { return *engine_; }

 private:
  std::mutex mutex_;
  std::map<uint64_t, RequestOutcome> outcomes_;
  std::unique_ptr<Engine> engine_;
};

inline Request greedy_request(std::vector<int32_t> prompt, int64_t max_tokens) {
  Request request;
  request.prompt_ids = std::move(prompt);
  request.params.temperature = 0;
  request.params.max_tokens = max_tokens;
  return request;
}

/// Greedy text of one sequence on a pipeline that has no other, token by token: what `generate`
/// does.
class AloneText {
 public:
  explicit AloneText(const std::string& model, DType dtype = DType::kFloat32)
      : pipeline_(open_pipeline(fixture(model).string(), dtype)) {
    const ModelFiles& files = pipeline_.model().files;
    ends_ = read_generation_defaults(files.folder, files.config).eos_token_ids;
  }

  struct Text {
    std::vector<int32_t> tokens;
    std::vector<float> logprobs;
    std::vector<double> margins;  // of the chosen token's logit over the next one's
  };
  const Text& of(const Request& request) {
    const bool ends = !request.params.ignore_eos;
    const Key key(request.prompt_ids, request.params.max_tokens, ends);
    const auto known = texts_.find(key);
    if (known != texts_.end()) return known->second;
    Text text;
    Sequence sequence;
    View logits = pipeline_.prefill(sequence, request.prompt_ids);
    for (;;) {
      text.tokens.push_back(argmax(logits, 0));
      std::vector<double> row = to_doubles(logits);
      text.logprobs.push_back(
          position_logprobs(std::vector<float>(row.begin(), row.end()), text.tokens.back(), 0, ids_)
              .chosen.logprob);
      std::ranges::nth_element(row, row.begin() + 1, std::greater());
      text.margins.push_back(row[0] - row[1]);
      if (ends && std::ranges::find(ends_, text.tokens.back()) != ends_.end()) break;
      if (static_cast<int64_t>(text.tokens.size()) == request.params.max_tokens) break;
      const Segment segment{&sequence, {&text.tokens.back(), 1}, LogitRows::kLast};
      logits = pipeline_.step({&segment, 1});
    }
    pipeline_.release(sequence);
    return texts_.emplace(key, std::move(text)).first->second;
  }
  int64_t vocab_size() const { return pipeline_.vocab_size(); }

 private:
  Pipeline pipeline_;
  std::vector<int32_t> ends_, ids_;
  using Key = std::tuple<std::vector<int32_t>, int64_t, bool>;
  std::map<Key, Text> texts_;
};

/// Requests that share beginnings, in random numbers of a seed: `n_distinct` ones, which repeat.
class RandomRequests {
 public:
  RandomRequests(uint32_t seed, int64_t vocab_size, size_t n_distinct, int64_t longest_prompt,
                 int64_t most_tokens)
      : random_(seed) {
    std::vector<std::vector<int32_t>> beginnings;
    for (int i = 0; i < 4; ++i) beginnings.push_back(ids(longest_prompt * 3 / 4, vocab_size));
    while (requests_.size() < n_distinct) {
      std::vector<int32_t> prompt = beginnings[below(beginnings.size())];
      prompt.resize(below(prompt.size() + 1));
      const std::vector<int32_t> rest = ids(1 + below(longest_prompt / 4), vocab_size);
      prompt.insert(prompt.end(), rest.begin(), rest.end());
      requests_.push_back(greedy_request(std::move(prompt), 1 + below(most_tokens)));
      requests_.back().params.logprobs = 0;
      // Random prompts end soon, most of them.
      requests_.back().params.ignore_eos = below(8) != 0;
    }
  }
  const Request& next() { return requests_[below(requests_.size())]; }
  size_t below(size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random_); }

 private:
  std::vector<int32_t> ids(size_t n, int64_t vocab_size) {
    std::vector<int32_t> ids(n);
    for (int32_t& id : ids) id = static_cast<int32_t>(below(vocab_size));
    return ids;
  }
  std::mt19937 random_;
  std::vector<Request> requests_;
};

}  // namespace lockstep::test
