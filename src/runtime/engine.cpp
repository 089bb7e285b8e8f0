#include "runtime/engine.h"

#include <fmt/format.h>

#include <condition_variable>
#include <mutex>
#include <random>
#include <thread>

#include "runtime/engine_loop.h"
#include "runtime/philox.h"

namespace lockstep {
namespace {

std::vector<int32_t> known_ids(const std::vector<int32_t>& ids, int64_t vocab_size) {
  std::vector<int32_t> known = ids;
  std::erase_if(known, [&](int32_t id) { return id >= vocab_size; });
  return known;
}

uint64_t random_seed() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

}  // namespace

struct Engine::Impl {
  Impl(std::unique_ptr<Pipeline> pipeline, EnginePlan a_plan, GenerationDefaults a_defaults)
      : plan(std::move(a_plan)),
        defaults(std::move(a_defaults)),
        vocab_size(pipeline->vocab_size()),
        has_hidden_states(pipeline->hidden_states().has_value()),
        end_ids(known_ids(defaults.eos_token_ids, vocab_size)),
        loop(std::move(pipeline), plan, end_ids),
        seed(random_seed()),
        thread([this] { work(); }) {}

  void work();
  bool take_inbox();
  void stop();

  const EnginePlan plan;
  const GenerationDefaults defaults;
  const int64_t vocab_size;
  const bool has_hidden_states;
  const std::vector<int32_t> end_ids;
  EngineLoop loop;  // the thread's alone, but for stats()
  const uint64_t seed;

  std::mutex mutex;
  std::condition_variable changed, idle;
  std::vector<std::unique_ptr<Task>> submitted;
  std::vector<uint64_t> cancelled;
  uint64_t last_id = 0;
  int64_t n_waiting = 0;  // of the loop
  size_t n_live = 0;      // submitted and not over
  bool is_draining = false, is_stopping = false;

  std::once_flag joined;
  std::thread thread;  // last: it uses all of the above
};

// Moves what came in to the loop; waits for it where there is nothing to do. False: stop.
bool Engine::Impl::take_inbox() {
  std::vector<std::unique_ptr<Task>> tasks;
  std::vector<uint64_t> ids;
  {
    std::unique_lock lock(mutex);
    n_live = loop.n_tasks() + submitted.size();
    n_waiting = loop.n_waiting();
    if (n_live == 0) idle.notify_all();
    changed.wait(lock, [&] {
      return is_stopping || !submitted.empty() || !cancelled.empty() || loop.n_tasks() > 0;
    });
    tasks.swap(submitted);
    ids.swap(cancelled);
    n_waiting += static_cast<int64_t>(tasks.size());
    if (is_stopping) is_draining = true;
  }
  for (std::unique_ptr<Task>& task : tasks) loop.add(std::move(task));
  for (const uint64_t id : ids) loop.end(id, FinishReason::kAbort);
  const std::lock_guard lock(mutex);
  return !is_stopping;
}

void Engine::Impl::work() {
  while (take_inbox()) loop.step();
  for (;;) {
    loop.end_all(FinishReason::kAbort);
    const std::lock_guard lock(mutex);
    // What a sink submitted meanwhile was refused: is_draining is set.
    if (submitted.empty()) break;
    for (std::unique_ptr<Task>& task : submitted) loop.add(std::move(task));
    submitted.clear();
  }
  const std::lock_guard lock(mutex);
  n_live = 0;
  idle.notify_all();
}

void Engine::Impl::stop() {
  {
    const std::lock_guard lock(mutex);
    is_draining = is_stopping = true;
  }
  changed.notify_all();
  std::call_once(joined, [this] { thread.join(); });
}

Engine::Engine(std::unique_ptr<Pipeline> pipeline, const EnginePlan& plan,
               const GenerationDefaults& defaults)
    : impl_(std::make_unique<Impl>(std::move(pipeline), plan, defaults)) {}

Engine::~Engine() { stop(); }

std::optional<InvalidParameter> Engine::check(const Request& request) const {
  const auto n_prompt = static_cast<int64_t>(request.prompt_ids.size());
  if (n_prompt == 0) return InvalidParameter{"prompt", "expected at least one token, found none"};
  const bool generates = request.pooling == Pooling::kNone && request.params.max_tokens > 0;
  if (n_prompt + generates > max_length()) {
    return InvalidParameter{
        "prompt", fmt::format("expected at most {} tokens{}, found {}", max_length() - generates,
                              generates ? ", which leaves one for the output" : "", n_prompt)};
  }
  for (const int32_t id : request.prompt_ids) {
    if (id >= 0 && id < vocab_size()) continue;
    return InvalidParameter{
        "prompt", fmt::format("expected ids from 0 to {}, found {}", vocab_size() - 1, id)};
  }
  if (request.pooling == Pooling::kNone) {
    return lockstep::check(request.params, vocab_size(), plan().options.max_logprobs);
  }
  if (impl_->has_hidden_states) return std::nullopt;
  return InvalidParameter{"model", "this model's graph has no hidden states to take"};
}

uint64_t Engine::submit(Request request, EventSink sink) {
  if (const std::optional<InvalidParameter> problem = check(request)) {
    throw Error(ErrorCode::kInvalidArgument, problem->parameter + ": " + problem->message);
  }
  auto task = std::make_unique<Task>();
  task->request = std::move(request);
  task->sink = std::move(sink);
  task->tokens = task->request.prompt_ids;
  task->n_prompt = task->n_tokens();
  task->arrival = Clock::now();
  const SamplingParams& params = task->request.params;
  if (task->request.pooling == Pooling::kNone && params.prompt_logprobs) {
    task->prompt_logprobs = std::make_shared<std::vector<PositionLogprobs>>();
  }

  const std::lock_guard lock(impl_->mutex);
  if (impl_->is_draining) {
    throw Error(ErrorCode::kUnavailable, "the engine is stopping: no request is accepted");
  }
  const int64_t n_waiting = impl_->n_waiting + static_cast<int64_t>(impl_->submitted.size());
  if (n_waiting >= plan().options.max_waiting) {
    throw Error(ErrorCode::kResourceExhausted,
                fmt::format("{} requests wait already: no more are accepted", n_waiting),
                "try again later");
  }
  task->id = impl_->last_id + 1;
  const uint64_t seed = uint64_t{philox({static_cast<uint32_t>(task->id), 0, 0, 1},
                                        {static_cast<uint32_t>(impl_->seed),
                                         static_cast<uint32_t>(impl_->seed >> 32)})[0]} |
                        (task->id << 32);
  task->choice = std::make_unique<TokenChoice>(params, task->request.prompt_ids, impl_->end_ids,
                                               seed, task->request.mask);
  impl_->submitted.push_back(std::move(task));
  ++impl_->n_live;
  impl_->changed.notify_one();
  return ++impl_->last_id;
}

void Engine::cancel(uint64_t id) {
  const std::lock_guard lock(impl_->mutex);
  impl_->cancelled.push_back(id);
  impl_->changed.notify_one();
}

EngineStats Engine::stats() const { return impl_->loop.stats(); }

void Engine::drain() {
  const std::lock_guard lock(impl_->mutex);
  impl_->is_draining = true;
}

bool Engine::wait_idle(std::optional<Clock::time_point> deadline) {
  std::unique_lock lock(impl_->mutex);
  const auto is_idle = [this] { return impl_->n_live == 0; };
  if (deadline) return impl_->idle.wait_until(lock, *deadline, is_idle);
  impl_->idle.wait(lock, is_idle);
  return true;
}

void Engine::stop() { impl_->stop(); }

const EnginePlan& Engine::plan() const noexcept { return impl_->plan; }
const Model& Engine::model() const noexcept { return impl_->loop.pipeline().model(); }
const GenerationDefaults& Engine::defaults() const noexcept { return impl_->defaults; }
int64_t Engine::vocab_size() const noexcept { return impl_->vocab_size; }
int64_t Engine::max_length() const noexcept { return impl_->plan.options.max_length; }

}  // namespace lockstep
