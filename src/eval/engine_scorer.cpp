// The model in this process: requests to its engine, which batches what several sessions ask.
#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>

#include "eval/scorer.h"
#include "lockstep/abi.h"
#include "lockstep/error.h"
#include "text/detokenizer.h"

namespace lockstep::eval {
namespace {

// Events of one session's requests, from the engine's thread to the session's.
class Mailbox {
 public:
  EventSink sink(size_t about) {
    return [state = state_, about](TokenEvent&& event) {
      {
        const std::lock_guard lock(state->mutex);
        state->events.emplace_back(about, std::move(event));
      }
      state->arrived.notify_one();
    };
  }
  std::pair<size_t, TokenEvent> next() {
    std::unique_lock lock(state_->mutex);
    state_->arrived.wait(lock, [&] { return !state_->events.empty(); });
    auto event = std::move(state_->events.front());
    state_->events.pop_front();
    if (event.second.error) throw *event.second.error;
    if (event.second.finish == FinishReason::kAbort) {
      throw Error(ErrorCode::kUnavailable, "the engine was stopped");
    }
    return event;
  }

 private:
  struct State {
    std::mutex mutex;
    std::condition_variable arrived;
    std::deque<std::pair<size_t, TokenEvent>> events;
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

class EngineSession : public Session {
 public:
  EngineSession(Engine& engine, const text::Tokenizer& tokenizer)
      : engine_(engine), tokenizer_(tokenizer) {}

  std::vector<Loglikelihood> loglikelihood(std::span<const Choice> choices) override {
    std::vector<Loglikelihood> scored(choices.size());
    std::vector<size_t> n_context;
    Mailbox mailbox;
    for (size_t i = 0; i < choices.size(); ++i) {
      EncodedChoice encoded = encode_choice(tokenizer_, choices[i], engine_.max_length());
      n_context.push_back(encoded.n_context);
      scored[i].n_tokens = static_cast<int64_t>(encoded.ids.size() - encoded.n_context);
      scored[i].is_cut = encoded.is_cut;
      scored[i].is_greedy = true;
      Request request;
      request.prompt_ids = std::move(encoded.ids);
      request.params.max_tokens = 0;
      request.params.prompt_logprobs = 0;
      engine_.submit(std::move(request), mailbox.sink(i));
    }
    for (size_t n_left = choices.size(); n_left > 0;) {
      const auto [i, event] = mailbox.next();
      if (event.prompt_logprobs) {
        // Entry k is of token k + 1.
        for (size_t k = n_context[i] - 1; k < event.prompt_logprobs->size(); ++k) {
          const PositionLogprobs& position = (*event.prompt_logprobs)[k];
          scored[i].logprob += static_cast<double>(position.chosen.logprob);
          scored[i].is_greedy = scored[i].is_greedy && position.rank == 1;
        }
      }
      if (event.finish != FinishReason::kNone) --n_left;
    }
    return scored;
  }

  Generated generate(const std::string& prompt, std::span<const std::string> stop,
                     int64_t max_tokens) override {
    Generated made;
    Request request;
    request.prompt_ids =
        encode_prompt(tokenizer_, prompt, max_tokens, engine_.max_length(), made.is_cut);
    request.params.temperature = 0;
    request.params.max_tokens = max_tokens;
    Mailbox mailbox;
    const uint64_t id = engine_.submit(std::move(request), mailbox.sink(0));
    text::Detokenizer detokenizer(tokenizer_, {.skip_special_tokens = true},
                                  {stop.begin(), stop.end()});
    for (bool is_over = false; !is_over;) {
      const auto [about, event] = mailbox.next();
      is_over = event.finish != FinishReason::kNone;
      if (event.token) made.text += detokenizer.push(*event.token);
      if (is_over) made.text += detokenizer.finish();
      made.is_finished = detokenizer.stopped() || event.finish == FinishReason::kStop;
      if (detokenizer.stopped()) {
        engine_.cancel(id);
        break;
      }
    }
    return made;
  }

 private:
  Engine& engine_;
  const text::Tokenizer& tokenizer_;
};

class EngineScorer : public Scorer {
 public:
  EngineScorer(Engine& engine, const text::Tokenizer& tokenizer, std::string model)
      : engine_(engine), tokenizer_(tokenizer), model_(std::move(model)) {}

  std::unique_ptr<Session> open() override {
    return std::make_unique<EngineSession>(engine_, tokenizer_);
  }
  std::string model() const override { return model_; }
  std::string version() const override { return "lockstep " LOCKSTEP_SDK_VERSION; }

 private:
  Engine& engine_;
  const text::Tokenizer& tokenizer_;
  std::string model_;
};

}  // namespace

std::unique_ptr<Scorer> engine_scorer(Engine& engine, const text::Tokenizer& tokenizer,
                                      std::string model) {
  return std::make_unique<EngineScorer>(engine, tokenizer, std::move(model));
}

}  // namespace lockstep::eval
