#include "parity/bisect/engine_probe.h"

#include <map>
#include <mutex>

namespace lockstep::parity {
namespace {

constexpr int64_t kLogprobs = 20;

Request request_of(const EngineRequest& asked) {
  Request request;
  request.prompt_ids = asked.prompt;
  request.params.temperature = 0;
  request.params.max_tokens = asked.max_tokens;
  request.params.ignore_eos = true;
  request.params.logprobs = kLogprobs;
  return request;
}

}  // namespace

ProbeEngine::ProbeEngine(const Subject& subject, DType dtype, const EngineOptions& options,
                         const std::function<void(Pipeline&)>& prepare) {
  Model model = subject.open(dtype);
  EnginePlan plan = plan_engine(model, options);
  std::unique_ptr<Pipeline> pipeline = subject.start(std::move(model), plan.pipeline);
  if (prepare) prepare(*pipeline);
  engine_ = std::make_unique<Engine>(std::move(pipeline), plan, GenerationDefaults{});
}

ProbeEngine::~ProbeEngine() { engine_->stop(); }

std::vector<EngineAnswer> ProbeEngine::ask(const std::vector<EngineRequest>& requests) {
  std::vector<EngineAnswer> answers(requests.size());
  std::mutex mutex;
  const auto submit_all = [&] {
    for (size_t i = 0; i < requests.size(); ++i) {
      try {
        engine_->submit(request_of(requests[i]), [&answers, &mutex, i](TokenEvent&& event) {
          const std::lock_guard lock(mutex);
          EngineAnswer& answer = answers[i];
          answer.n_cached = event.n_cached_tokens;
          if (event.token) answer.tokens.push_back(*event.token);
          if (event.logprobs) answer.logprobs.push_back(std::move(*event.logprobs));
          if (event.error) answer.error = std::move(event.error);
        });
      } catch (const Error& error) {
        answers[i].error = error;
      }
    }
  };
  // From within a step of the engine all come in together, so that a second run is like the first.
  const EngineRequest starter{{requests.front().prompt.front()}, 1};
  engine_->submit(request_of(starter), [&](TokenEvent&&) { submit_all(); });
  engine_->wait_idle();
  return answers;
}

}  // namespace lockstep::parity
