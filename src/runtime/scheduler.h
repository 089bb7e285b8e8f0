// Which tokens of which requests the next step computes, and who holds which pages meanwhile.
//
// A step has first the one new token of every request that generates, then chunks of prompts, in
// the order of priority and arrival, up to its number of tokens. A waiting request is admitted when
// there are pages for all of its text; it then has them. When one that generates finds no page, the
// last in that order is preempted: it gives up all it holds, waits at its place, and is computed
// again when admitted.
#pragma once

#include <cstdint>
#include <set>
#include <span>
#include <vector>

#include "runtime/pipeline.h"
#include "runtime/prefix_cache.h"
#include "runtime/task.h"

namespace lockstep {

/// Tokens [sequence.length, sequence.length + n_tokens) of a task.
struct ScheduledTask {
  Task* task;
  int64_t n_tokens;
  LogitRows rows;
};

class Scheduler {
 public:
  struct Options {
    int64_t max_batch_size, max_batched_tokens, max_prefill_chunk;
    int64_t max_logit_rows;
    bool prefix_caching;
  };
  /// `pipeline` must outlive this.
  Scheduler(const Options& options, Pipeline& pipeline);

  /// Tasks are the caller's, until removed.
  void add(Task& task);
  /// Takes it out, and gives back all it holds.
  void remove(Task& task) noexcept;

  /// What the next step computes: empty when nobody is there. A task that no page can be found for
  /// although it runs alone is in none_left().
  std::span<const ScheduledTask> schedule();
  std::span<Task* const> none_left() const noexcept { return none_left_; }
  /// After the step of schedule(): what is full now is known to the prefix cache.
  void commit();

  int64_t n_running() const noexcept { return static_cast<int64_t>(running_.size()); }
  int64_t n_waiting() const noexcept { return static_cast<int64_t>(waiting_.size()); }
  uint64_t n_preemptions() const noexcept { return n_preemptions_; }
  /// Tokens looked up in the prefix cache at admissions, and found.
  uint64_t n_prefix_queries() const noexcept { return n_prefix_queries_; }
  uint64_t n_prefix_hits() const noexcept { return n_prefix_hits_; }
  const PrefixCache& cache() const noexcept { return cache_; }

 private:
  struct Budget {
    int64_t tokens, rows;
  };
  void schedule_decodes(Budget& budget);
  void schedule_prompts(Budget& budget);
  void admit_waiting(Budget& budget);
  void schedule_chunk(Task& task, Budget& budget);
  int64_t chunk_of(const Task& task, const Budget& budget) const;
  bool has_page_for_next(Task& task);
  bool admit(Task& task);
  int32_t find_prefix(Task& task);
  bool has_room(const Task& task) const;
  void take_slot(Task& task, int32_t snapshot);
  void release(Task& task) noexcept;
  void preempt(Task& task);
  int64_t n_available_pages() const;
  void take_pages(Task& task, int64_t n);
  void remember_blocks(Task& task);
  void snapshot(Task& task);

  Options options_;
  Pipeline& pipeline_;
  int64_t page_size_;
  PrefixCache cache_;
  std::set<Task*, TaskOrder> waiting_, running_;
  std::vector<ScheduledTask> scheduled_;
  std::vector<Task*> none_left_;
  bool has_preempted_ = false;  // in this call of schedule()
  uint64_t n_preemptions_ = 0, n_prefix_queries_ = 0, n_prefix_hits_ = 0;
};

}  // namespace lockstep
