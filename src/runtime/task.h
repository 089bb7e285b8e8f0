// A request inside the engine: its text so far, what it holds of the caches, what it has given out.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "runtime/pipeline.h"
#include "runtime/prefix_cache.h"
#include "runtime/request.h"
#include "runtime/token_choice.h"

namespace lockstep {

struct Task {
  uint64_t id = 0;  // in order of arrival
  Request request;
  EventSink sink;
  std::unique_ptr<TokenChoice> choice;

  std::vector<int32_t> tokens;  // prompt and output
  int64_t n_prompt = 0;
  Sequence sequence;  // length: tokens the caches have; held while it runs
  /// Full blocks of `tokens` that the caches have, as far as they have been looked at.
  PrefixCache::Chain chain;
  /// Where a snapshot of the states is wanted next, beside chunk ends: tokens; 0: nowhere.
  int64_t snapshot_at = 0;
  /// The newest snapshot of its output: one a task, moved along.
  PrefixCache::Block* output_snapshot = nullptr;
  bool is_running = false;

  std::optional<int64_t> n_cached;  // of the prompt, when it was first admitted
  std::shared_ptr<std::vector<PositionLogprobs>> prompt_logprobs;  // where asked for
  std::vector<double> pooled;                                      // sums, or the one row
  Clock::time_point arrival, last_token;
  std::optional<Clock::time_point> admission, first_token;
  bool has_event = false;  // the first was delivered

  int64_t n_tokens() const noexcept { return static_cast<int64_t>(tokens.size()); }
  int64_t n_output() const noexcept { return n_tokens() - n_prompt; }
  /// Tokens the caches lack.
  int64_t n_new() const noexcept { return n_tokens() - sequence.length; }
  bool is_decoding() const noexcept { return n_new() == 1 && n_output() > 0; }
  bool lacks_prompt_logprobs() const noexcept {
    return prompt_logprobs && static_cast<int64_t>(prompt_logprobs->size()) < n_prompt - 1;
  }
  /// Every position of the prompt must be computed, so nothing of it is taken from the cache.
  bool needs_all_rows() const noexcept {
    return lacks_prompt_logprobs() || request.pooling == Pooling::kMean ||
           request.pooling == Pooling::kCls;
  }
};

/// Lower priority value first, then first come, first served.
struct TaskOrder {
  bool operator()(const Task* a, const Task* b) const noexcept {
    return a->request.priority != b->request.priority ? a->request.priority < b->request.priority
                                                      : a->id < b->id;
  }
};

}  // namespace lockstep
