// Numbers of a running engine, for /metrics: named after vLLM's where it has them.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "runtime/request.h"

namespace lockstep {

/// A Prometheus histogram: how many observations were at most each bound.
class Histogram {
 public:
  explicit Histogram(std::vector<double> bounds)
      : bounds_(std::move(bounds)), counts_(bounds_.size() + 1) {}
  void observe(double value) noexcept;

  std::span<const double> bounds() const noexcept { return bounds_; }  // ascending
  /// Of observations up to bounds()[i], and after the last bound of all: cumulative.
  std::vector<uint64_t> cumulative() const;
  double sum() const noexcept { return sum_; }
  uint64_t count() const noexcept { return count_; }

 private:
  std::vector<double> bounds_;
  std::vector<uint64_t> counts_;
  double sum_ = 0;
  uint64_t count_ = 0;
};

/// Times are seconds.
struct EngineStats {
  EngineStats();

  // Now.
  int64_t n_running = 0;       // num_requests_running
  int64_t n_waiting = 0;       // num_requests_waiting, preempted ones included
  int64_t n_pages = 0;         // in all
  int64_t n_pages_used = 0;    // by running requests (kv_cache_usage_perc)
  int64_t n_pages_cached = 0;  // kept for later prompts alone: taken back when needed
  int64_t n_states = 0, n_states_used = 0, n_states_cached = 0;

  // Since the start.
  uint64_t n_steps = 0;
  uint64_t n_preemptions = 0;            // num_preemptions_total
  uint64_t n_prompt_tokens = 0;          // prompt_tokens_total
  uint64_t n_generation_tokens = 0;      // generation_tokens_total
  uint64_t n_prefix_queries = 0;         // prefix_cache_queries_total: tokens looked up
  uint64_t n_prefix_hits = 0;            // prefix_cache_hits_total: tokens found
  std::array<uint64_t, 6> n_finished{};  // by FinishReason (request_success_total)

  Histogram time_to_first_token;        // time_to_first_token_seconds
  Histogram inter_token_latency;        // inter_token_latency_seconds
  Histogram e2e_request_latency;        // e2e_request_latency_seconds
  Histogram request_queue_time;         // request_queue_time_seconds
  Histogram request_prefill_time;       // request_prefill_time_seconds
  Histogram request_decode_time;        // request_decode_time_seconds
  Histogram step_time;                  // no equal: one step of the model
  Histogram iteration_tokens;           // iteration_tokens_total: tokens a step
  Histogram request_prompt_tokens;      // request_prompt_tokens
  Histogram request_generation_tokens;  // request_generation_tokens
};

}  // namespace lockstep
