#include "runtime/engine_loop.h"

#include <fmt/format.h>

#include <algorithm>

namespace lockstep {
namespace {

double seconds(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

Scheduler::Options scheduler_options(const EnginePlan& plan) {
  return {.max_batch_size = plan.options.max_batch_size,
          .max_batched_tokens = plan.options.max_batched_tokens,
          .max_prefill_chunk = plan.options.max_prefill_chunk,
          .max_logit_rows = plan.pipeline.max_logit_rows,
          .prefix_caching = plan.options.prefix_caching};
}

bool contains(const std::vector<int32_t>& ids, int32_t id) {
  return std::ranges::find(ids, id) != ids.end();
}

}  // namespace

EngineLoop::EngineLoop(std::unique_ptr<Pipeline> pipeline, const EnginePlan& plan,
                       const std::vector<int32_t>& end_ids)
    : pipeline_(std::move(pipeline)),
      options_(plan.options),
      end_ids_(end_ids),
      scheduler_(scheduler_options(plan), *pipeline_),
      sampler_(pipeline_->vocab_size(), pipeline_->context().pool) {
  update_stats(0);
}

void EngineLoop::add(std::unique_ptr<Task> task) {
  Task& added = *task;
  tasks_.emplace(added.id, std::move(task));
  scheduler_.add(added);
}

void EngineLoop::end(uint64_t id, FinishReason reason) {
  const auto task = tasks_.find(id);
  if (task == tasks_.end()) return;
  TokenEvent event = event_of(*task->second);
  event.finish = reason;
  finish(*task->second, std::move(event));
}

void EngineLoop::end_all(FinishReason reason) {
  while (!tasks_.empty()) end(tasks_.begin()->first, reason);
  update_stats(0);
}

void EngineLoop::end_overdue(Clock::time_point now) {
  std::vector<uint64_t> overdue;
  for (const auto& [id, task] : tasks_) {
    if (task->request.deadline && *task->request.deadline <= now) overdue.push_back(id);
  }
  for (const uint64_t id : overdue) end(id, FinishReason::kTimeout);
}

void EngineLoop::step() noexcept {
  try {
    step_once();
  } catch (const std::exception& exception) {
    // Outside the model: nothing is known of who is concerned.
    fail_all(Error(ErrorCode::kInternal, exception.what()));
  }
}

void EngineLoop::step_once() {
  const Clock::time_point begin = Clock::now();
  end_overdue(begin);
  const std::span<const ScheduledTask> scheduled = scheduler_.schedule();
  batch_.assign(scheduled.begin(), scheduled.end());
  end_without_pages();
  note_admissions(begin);
  if (!batch_.empty() && run_model()) {
    for (size_t i = 0; i < batch_.size(); ++i) {
      const size_t first = job_offsets_[i];
      deliver(batch_[i], std::span(jobs_).subspan(first, job_offsets_[i + 1] - first));
    }
  }
  update_stats(batch_.empty() ? 0 : seconds(begin, Clock::now()));
}

void EngineLoop::note_admissions(Clock::time_point now) {
  for (const ScheduledTask& scheduled : batch_) {
    Task& task = *scheduled.task;
    if (task.admission) continue;
    task.admission = now;
    const std::lock_guard lock(stats_mutex_);
    stats_.request_queue_time.observe(seconds(task.arrival, now));
  }
}

// The pages of all bound a request's length at submission: met only when that bound and the pages
// do not agree.
void EngineLoop::end_without_pages() {
  const std::span<Task* const> none_left = scheduler_.none_left();
  for (Task* task : std::vector<Task*>(none_left.begin(), none_left.end())) {
    fail(*task, Error(ErrorCode::kResourceExhausted,
                      fmt::format("{} tokens: no pages are left for more", task->n_tokens())));
  }
}

// False when it failed; then the batch has been told.
bool EngineLoop::run_model() {
  try {
    try_model();
    return true;
  } catch (const Error& error) {
    fail_batch(error);
  } catch (const std::bad_alloc&) {
    fail_batch(Error(ErrorCode::kResourceExhausted, "a step of the model: out of memory"));
  } catch (const std::exception& exception) {
    fail_batch(Error(ErrorCode::kInternal, exception.what()));
  }
  return false;
}

void EngineLoop::try_model() {
  segments_.clear();
  starts_.clear();
  int64_t n_tokens = 0;
  for (const auto& [task, n, rows] : batch_) {
    const int64_t begin = task->sequence.length;
    starts_.push_back(begin);
    segments_.push_back(
        {&task->sequence, std::span(task->tokens).subspan(begin, static_cast<size_t>(n)), rows});
    n_tokens += n;
  }
  watch_hidden_states();
  logits_ = pipeline_->step(segments_);
  scheduler_.commit();
  plan_jobs();
  sampler_.run(logits_, jobs_);
  const std::lock_guard lock(stats_mutex_);
  stats_.iteration_tokens.observe(static_cast<double>(n_tokens));
}

void EngineLoop::watch_hidden_states() {
  const bool watch = std::ranges::any_of(batch_, [](const ScheduledTask& scheduled) {
    return scheduled.task->request.pooling != Pooling::kNone;
  });
  if (watch == is_watching_) return;
  is_watching_ = watch;
  if (!watch) return pipeline_->observe({}, nullptr);
  // check() refuses embeddings of a graph without.
  pipeline_->observe({*pipeline_->hidden_states()},
                     [this](ValueId, const View& hidden) { pool_rows(hidden); });
}

// `hidden` is [tokens of the batch, hidden].
void EngineLoop::pool_rows(const View& hidden) {
  const int64_t width = hidden.dim(-1);
  int64_t first = 0;
  for (size_t s = 0; s < batch_.size(); ++s) {
    const auto& [task, n, rows] = batch_[s];
    const Pooling pooling = task->request.pooling;
    const bool has_first = starts_[s] == 0, has_last = starts_[s] + n == task->n_prompt;
    first += n;
    if (pooling == Pooling::kNone) continue;
    int64_t begin = 0, end = 0;  // of the segment's rows
    if (pooling == Pooling::kMean) end = n;
    if (pooling == Pooling::kCls && has_first) end = 1;
    if (pooling == Pooling::kLast && has_last) begin = n - 1, end = n;
    if (has_first || pooling == Pooling::kLast) task->pooled.assign(static_cast<size_t>(width), 0);
    for (int64_t row = first - n + begin; row < first - n + end; ++row) {
      for (int64_t i = 0; i < width; ++i) {
        task->pooled[i] += load_element(hidden.data, hidden.dtype, row * width + i);
      }
    }
  }
}

void EngineLoop::plan_jobs() {
  jobs_.clear();
  job_offsets_.assign(1, 0);
  int64_t row = 0;
  for (size_t s = 0; s < batch_.size(); ++s) {
    const auto& [task, n, rows] = batch_[s];
    const SamplingParams& params = task->request.params;
    if (rows == LogitRows::kAll) {
      auto known = static_cast<int64_t>(task->prompt_logprobs->size());
      for (; known < std::min(starts_[s] + n, task->n_prompt - 1); ++known) {
        jobs_.push_back({.row = row + known - starts_[s],
                         .n_logprobs = params.prompt_logprobs,
                         .token = task->tokens[known + 1]});
      }
    }
    row += rows == LogitRows::kAll ? n : rows == LogitRows::kLast ? 1 : 0;
    if (rows != LogitRows::kNone && task->n_new() == 0 && params.max_tokens > 0) {
      jobs_.push_back(
          {.row = row - 1, .choice = task->choice.get(), .n_logprobs = params.logprobs});
    }
    job_offsets_.push_back(jobs_.size());
  }
}

void EngineLoop::deliver(const ScheduledTask& scheduled, std::span<SampleJob> jobs) {
  Task& task = *scheduled.task;
  for (SampleJob& job : jobs) {
    if (job.out_of_memory) {
      return fail(task, Error(ErrorCode::kResourceExhausted, "logprobs: out of memory"));
    }
    if (job.choice != nullptr) return deliver_token(task, job);
    task.prompt_logprobs->push_back(std::move(*job.logprobs));
  }
  if (task.n_new() > 0) return;
  if (task.request.pooling != Pooling::kNone) return deliver_embedding(task);
  TokenEvent event = event_of(task);  // max_tokens 0: the prompt was all
  event.finish = FinishReason::kLength;
  finish(task, std::move(event));
}

void EngineLoop::deliver_embedding(Task& task) {
  const double n =
      task.request.pooling == Pooling::kMean ? static_cast<double>(task.n_prompt) : 1.0;
  TokenEvent event = event_of(task);
  for (const double sum : task.pooled) event.embedding.push_back(static_cast<float>(sum / n));
  event.finish = FinishReason::kStop;
  finish(task, std::move(event));
}

void EngineLoop::deliver_token(Task& task, SampleJob& job) {
  if (!job.token) {
    const std::string what =
        fmt::format("token {} of the output: none can come", task.n_output() + 1);
    if (job.forbids_all) {
      return fail(task, Error(ErrorCode::kInvalidArgument, what,
                              "the request's parameters together forbid every token"));
    }
    return fail(task, Error(ErrorCode::kFailedPrecondition, what, "the logits are no numbers"));
  }
  task.choice->accept(*job.token);
  task.tokens.push_back(*job.token);
  TokenEvent event = event_of(task);
  event.token = job.token;
  event.logprobs = std::move(job.logprobs);
  event.finish = reason_to_end(task, *job.token, event);
  if (event.finish != FinishReason::kNone) return finish(task, std::move(event));
  if (!send(task, std::move(event))) {
    TokenEvent last = event_of(task);
    last.finish = FinishReason::kAbort;
    task.sink = nullptr;
    finish(task, std::move(last));
  }
}

FinishReason EngineLoop::reason_to_end(const Task& task, int32_t token, TokenEvent& event) const {
  const SamplingParams& params = task.request.params;
  if (task.n_output() >= params.min_tokens) {
    if (!params.ignore_eos && contains(end_ids_, token)) return FinishReason::kStop;
    if (contains(params.stop_token_ids, token)) {
      event.stop_token = token;
      return FinishReason::kStop;
    }
  }
  const bool is_full =
      task.n_output() >= params.max_tokens || task.n_tokens() >= options_.max_length;
  return is_full ? FinishReason::kLength : FinishReason::kNone;
}

TokenEvent EngineLoop::event_of(Task& task) const {
  TokenEvent event;
  event.id = task.id;
  event.n_prompt_tokens = task.n_prompt;
  event.n_cached_tokens = task.n_cached.value_or(0);
  event.n_output_tokens = task.n_output();
  if (!task.has_event && task.prompt_logprobs && !task.lacks_prompt_logprobs()) {
    event.prompt_logprobs = task.prompt_logprobs;
  }
  return event;
}

bool EngineLoop::send(Task& task, TokenEvent event) {
  count_event(task, event);
  task.has_event = true;
  if (!task.sink) return true;
  try {
    task.sink(std::move(event));
    return true;
  } catch (...) {
    return false;
  }
}

void EngineLoop::finish(Task& task, TokenEvent event) {
  scheduler_.remove(task);
  send(task, std::move(event));
  tasks_.erase(task.id);
}

void EngineLoop::fail(Task& task, const Error& error) {
  TokenEvent event = event_of(task);
  event.finish = FinishReason::kError;
  event.error = error;
  finish(task, std::move(event));
}

void EngineLoop::fail_batch(const Error& error) {
  for (const ScheduledTask& scheduled : batch_) fail(*scheduled.task, error);
}

void EngineLoop::fail_all(const Error& error) noexcept {
  while (!tasks_.empty()) fail(*tasks_.begin()->second, error);
}

void EngineLoop::count_event(Task& task, const TokenEvent& event) {
  const Clock::time_point now = Clock::now();
  const std::lock_guard lock(stats_mutex_);
  const bool ends_well =
      event.finish == FinishReason::kStop || event.finish == FinishReason::kLength;
  if (!task.has_event && (event.token || ends_well)) {
    stats_.n_prompt_tokens += static_cast<uint64_t>(task.n_prompt);
    stats_.request_prefill_time.observe(seconds(*task.admission, now));
  }
  if (event.token) {
    ++stats_.n_generation_tokens;
    if (task.first_token) {
      stats_.inter_token_latency.observe(seconds(task.last_token, now));
    } else {
      stats_.time_to_first_token.observe(seconds(task.arrival, now));
      task.first_token = now;
    }
    task.last_token = now;
  }
  if (event.finish == FinishReason::kNone) return;
  ++stats_.n_finished[static_cast<size_t>(event.finish)];
  if (!ends_well) return;
  stats_.e2e_request_latency.observe(seconds(task.arrival, now));
  stats_.request_prompt_tokens.observe(static_cast<double>(task.n_prompt));
  stats_.request_generation_tokens.observe(static_cast<double>(task.n_output()));
  if (task.first_token) {
    stats_.request_decode_time.observe(seconds(*task.first_token, now));
  }
}

void EngineLoop::update_stats(double step_seconds) {
  const std::lock_guard lock(stats_mutex_);
  if (step_seconds > 0) {
    ++stats_.n_steps;
    stats_.step_time.observe(step_seconds);
  }
  stats_.n_running = scheduler_.n_running();
  stats_.n_waiting = scheduler_.n_waiting();
  const PrefixCache& cache = scheduler_.cache();
  const CountedIds& pages = pipeline_->pages();
  stats_.n_pages = pipeline_->has_pages() ? pages.size() : 0;
  stats_.n_pages_cached = cache.n_evictable_pages();
  stats_.n_pages_used = pages.size() - pages.n_free() - stats_.n_pages_cached;
  const CountedIds& slots = pipeline_->slots();
  stats_.n_states = pipeline_->has_states() ? slots.size() : 0;
  stats_.n_states_cached = cache.n_snapshots();
  stats_.n_states_used =
      pipeline_->has_states() ? slots.size() - slots.n_free() - cache.n_snapshots() : 0;
  stats_.n_preemptions = scheduler_.n_preemptions();
  stats_.n_prefix_queries = scheduler_.n_prefix_queries();
  stats_.n_prefix_hits = scheduler_.n_prefix_hits();
}

EngineStats EngineLoop::stats() const {
  const std::lock_guard lock(stats_mutex_);
  return stats_;
}

}  // namespace lockstep
