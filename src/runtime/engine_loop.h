// One thread's part of the engine: tasks in, a step of the model at a time, events out.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <unordered_map>
#include <vector>

#include "runtime/engine.h"
#include "runtime/sampler.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"

namespace lockstep {

class EngineLoop {
 public:
  EngineLoop(std::unique_ptr<Pipeline> pipeline, const EnginePlan& plan,
             const std::vector<int32_t>& end_ids);

  void add(std::unique_ptr<Task> task);
  /// Ends a task; nothing when there is none of that id.
  void end(uint64_t id, FinishReason reason);
  void end_all(FinishReason reason);
  /// One step for whoever is there, and their events. Errors of the step end those that were in it.
  void step() noexcept;

  size_t n_tasks() const noexcept { return tasks_.size(); }
  int64_t n_waiting() const noexcept { return scheduler_.n_waiting(); }
  /// As of the last step; from any thread.
  EngineStats stats() const;
  const Pipeline& pipeline() const noexcept { return *pipeline_; }

 private:
  void step_once();
  void end_overdue(Clock::time_point now);
  void end_without_pages();
  bool run_model();
  void try_model();
  void note_admissions(Clock::time_point now);
  void watch_hidden_states();
  void pool_rows(const View& hidden);
  void plan_jobs();
  void deliver(const ScheduledTask& scheduled, std::span<SampleJob> jobs);
  void deliver_token(Task& task, SampleJob& job);
  void deliver_embedding(Task& task);
  void finish(Task& task, TokenEvent event);
  void fail(Task& task, const Error& error);
  void fail_batch(const Error& error);
  void fail_all(const Error& error) noexcept;
  bool send(Task& task, TokenEvent event);
  TokenEvent event_of(Task& task) const;
  FinishReason reason_to_end(const Task& task, int32_t token, TokenEvent& event) const;
  void count_event(Task& task, const TokenEvent& event);
  void update_stats(double step_seconds);

  std::unique_ptr<Pipeline> pipeline_;
  EngineOptions options_;
  std::vector<int32_t> end_ids_;
  Scheduler scheduler_;
  Sampler sampler_;
  std::unordered_map<uint64_t, std::unique_ptr<Task>> tasks_;

  // Of the step that runs.
  std::vector<ScheduledTask> batch_;
  std::vector<Segment> segments_;
  View logits_;
  std::vector<SampleJob> jobs_;
  std::vector<size_t> job_offsets_;  // [batch + 1]
  std::vector<int64_t> starts_;      // sequence.length before the step
  bool is_watching_ = false;

  mutable std::mutex stats_mutex_;
  EngineStats stats_;
};

}  // namespace lockstep
