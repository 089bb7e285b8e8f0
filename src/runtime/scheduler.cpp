#include "runtime/scheduler.h"

#include <algorithm>

namespace lockstep {
namespace {

// Blocks of a model whose caches are states alone hold no pages; a block is about 200 bytes.
constexpr int64_t kMaxPagelessBlocks = int64_t{1} << 16;

PrefixCache::Options cache_options(const Pipeline& pipeline) {
  return {.block_size = pipeline.options().page_size,
          .has_pages = pipeline.has_pages(),
          .has_states = pipeline.has_states(),
          .max_blocks = pipeline.has_pages() ? 0 : kMaxPagelessBlocks};
}

}  // namespace

Scheduler::Scheduler(const Options& options, Pipeline& pipeline)
    : options_(options),
      pipeline_(pipeline),
      page_size_(pipeline.options().page_size),
      cache_(cache_options(pipeline), pipeline.pages(), pipeline.slots()) {}

void Scheduler::add(Task& task) { waiting_.insert(&task); }

void Scheduler::remove(Task& task) noexcept {
  if (task.is_running) {
    release(task);
    running_.erase(&task);
  } else {
    waiting_.erase(&task);
  }
}

std::span<const ScheduledTask> Scheduler::schedule() {
  scheduled_.clear();
  none_left_.clear();
  has_preempted_ = false;
  Budget budget{options_.max_batched_tokens, options_.max_logit_rows};
  schedule_decodes(budget);
  schedule_prompts(budget);
  // Who was preempted just now would take back what others have been given.
  if (!has_preempted_) admit_waiting(budget);
  return scheduled_;
}

void Scheduler::schedule_decodes(Budget& budget) {
  for (auto next = running_.begin(); next != running_.end();) {
    Task& task = **next;
    if (!task.is_decoding()) {
      ++next;
      continue;
    }
    const bool has_page = has_page_for_next(task);
    // Preempting others has only taken away what comes after this one.
    next = task.is_running ? std::next(running_.find(&task)) : running_.upper_bound(&task);
    if (!has_page) continue;
    scheduled_.push_back({&task, 1, LogitRows::kLast});
    --budget.tokens;
    --budget.rows;
  }
}

bool Scheduler::has_page_for_next(Task& task) {
  const int64_t n = pipeline_.pages_for(task.n_tokens());
  while (static_cast<int64_t>(task.sequence.pages.size()) < n) {
    if (n_available_pages() > 0) {
      take_pages(task, 1);
      continue;
    }
    Task* const last = *running_.rbegin();
    if (last == &task && running_.size() == 1) {
      none_left_.push_back(&task);
      return false;
    }
    preempt(*last);
    if (last == &task) return false;
  }
  return true;
}

void Scheduler::schedule_prompts(Budget& budget) {
  for (Task* task : running_) {
    if (!task->is_decoding()) schedule_chunk(*task, budget);
  }
}

void Scheduler::schedule_chunk(Task& task, Budget& budget) {
  const int64_t n = chunk_of(task, budget);
  if (n <= 0) return;
  LogitRows rows = LogitRows::kNone;
  if (task.lacks_prompt_logprobs()) {
    rows = LogitRows::kAll;
  } else if (task.request.pooling == Pooling::kNone && n == task.n_new()) {
    rows = LogitRows::kLast;
  }
  scheduled_.push_back({&task, n, rows});
  budget.tokens -= n;
  budget.rows -= rows == LogitRows::kAll ? n : rows == LogitRows::kLast ? 1 : 0;
}

int64_t Scheduler::chunk_of(const Task& task, const Budget& budget) const {
  int64_t n = std::min({task.n_new(), budget.tokens, options_.max_prefill_chunk});
  if (task.lacks_prompt_logprobs()) {
    n = std::min(n, budget.rows);
  } else if (budget.rows == 0) {
    n = std::min(n, task.n_new() - 1);
  }
  if (!pipeline_.has_states() || !options_.prefix_caching) return n;
  // States can be kept where a block ends: stop there, if this chunk gets there at all.
  const int64_t begin = task.sequence.length;
  const int64_t last_boundary = (task.n_tokens() - 1) / page_size_ * page_size_;
  int64_t end = begin + n;
  if (begin < task.snapshot_at && task.snapshot_at < end) {
    end = task.snapshot_at;
  } else if (begin < last_boundary) {
    const int64_t boundary = std::min(end, last_boundary) / page_size_ * page_size_;
    if (boundary > begin) end = boundary;
  }
  return end - begin;
}

void Scheduler::admit_waiting(Budget& budget) {
  while (!waiting_.empty() && n_running() < options_.max_batch_size && budget.tokens > 0) {
    Task& task = **waiting_.begin();
    if (!admit(task)) return;
    schedule_chunk(task, budget);
  }
}

bool Scheduler::admit(Task& task) {
  const int32_t snapshot = find_prefix(task);
  if (!has_room(task)) {
    release(task);
    if (running_.empty()) none_left_.push_back(&task);
    return false;
  }
  take_slot(task, snapshot);
  take_pages(task, pipeline_.pages_for(task.n_tokens()) -
                       static_cast<int64_t>(task.sequence.pages.size()));
  running_.insert(waiting_.extract(&task));
  task.is_running = true;
  if (!task.n_cached) {
    task.n_cached = std::min(task.sequence.length, task.n_prompt);
    n_prefix_queries_ += static_cast<uint64_t>(task.n_tokens());
    n_prefix_hits_ += static_cast<uint64_t>(task.sequence.length);
  }
  return true;
}

bool Scheduler::has_room(const Task& task) const {
  const int64_t n_lacking =
      pipeline_.pages_for(task.n_tokens()) - static_cast<int64_t>(task.sequence.pages.size());
  // Those that run go on for a page each before anyone is preempted for this one.
  const int64_t n_kept = pipeline_.has_pages() ? n_running() : 0;
  return n_lacking + n_kept <= n_available_pages();
}

// The slot of the states to go on from, or -1.
int32_t Scheduler::find_prefix(Task& task) {
  PrefixCache::Hit hit;
  task.snapshot_at = 0;
  if (options_.prefix_caching && !task.needs_all_rows()) {
    // At least one token is computed: its logits are wanted.
    const std::span<const int32_t> tokens(task.tokens.data(), task.tokens.size() - 1);
    hit = cache_.find(tokens, task.request.cache_salt);
    if (hit.n_known > static_cast<int64_t>(hit.chain.size())) {
      task.snapshot_at = hit.n_known * page_size_;
    }
  }
  task.chain = std::move(hit.chain);
  task.sequence.length = static_cast<int64_t>(task.chain.size()) * page_size_;
  if (pipeline_.has_pages()) {
    for (const PrefixCache::Block* block : task.chain) {
      pipeline_.pages().hold(block->page);
      task.sequence.pages.push_back(block->page);
    }
  }
  return hit.snapshot;
}

void Scheduler::take_slot(Task& task, int32_t snapshot) {
  // There are slots for all that may run: only snapshots can be in the way. The one to go on from
  // is the newest; where it goes itself, its slot is the one taken.
  if (pipeline_.slots().n_free() == 0) cache_.evict_snapshot();
  if (snapshot < 0) return pipeline_.take_slot(task.sequence);
  task.sequence.slot = pipeline_.slots().take();
  if (task.sequence.slot != snapshot) pipeline_.copy_slot(snapshot, task.sequence.slot);
}

void Scheduler::release(Task& task) noexcept {
  pipeline_.release(task.sequence);
  cache_.give_back(task.chain);
  task.output_snapshot = nullptr;
}

void Scheduler::preempt(Task& task) {
  waiting_.insert(running_.extract(&task));
  release(task);
  task.is_running = false;
  has_preempted_ = true;
  ++n_preemptions_;
}

int64_t Scheduler::n_available_pages() const {
  return pipeline_.pages().n_free() + cache_.n_evictable_pages();
}

void Scheduler::take_pages(Task& task, int64_t n) {
  for (; n > 0; --n) {
    if (pipeline_.pages().n_free() == 0) cache_.evict_page();
    task.sequence.pages.push_back(pipeline_.pages().take());
  }
}

void Scheduler::commit() {
  if (!options_.prefix_caching) return;
  for (const ScheduledTask& scheduled : scheduled_) {
    remember_blocks(*scheduled.task);
    if (pipeline_.has_states()) snapshot(*scheduled.task);
  }
}

void Scheduler::remember_blocks(Task& task) {
  const int64_t n_full = task.sequence.length / page_size_;
  for (auto i = static_cast<int64_t>(task.chain.size()); i < n_full; ++i) {
    const std::span<const int32_t> tokens(task.tokens.data() + i * page_size_,
                                          static_cast<size_t>(page_size_));
    cache_.extend(task.chain, tokens, pipeline_.has_pages() ? task.sequence.pages[i] : -1,
                  task.request.cache_salt);
  }
}

void Scheduler::snapshot(Task& task) {
  if (task.chain.empty() || task.sequence.length % page_size_ != 0) return;
  PrefixCache::Block& block = *task.chain.back();
  const bool is_output = task.sequence.length > task.n_prompt;
  if (is_output && task.output_snapshot != nullptr) cache_.drop_snapshot(*task.output_snapshot);
  const int32_t slot = cache_.add_snapshot(block);
  if (slot < 0) return;
  pipeline_.copy_slot(task.sequence.slot, slot);
  if (is_output) task.output_snapshot = &block;
}

}  // namespace lockstep
