// Many requests on one pipeline: a thread that batches them continuously, step by step.
//
//   submit() --> waiting --admitted--> prefill in chunks --> one token a step --> last event
//                   ^                        |                      |
//                   +------- preempted (no page is free) -----------+
//
// In float32 the tokens of a request do not depend on who else is in the batch, on prefix hits, or
// on being preempted. vLLM's behaviour where a choice was open.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "runtime/engine_stats.h"
#include "runtime/pipeline.h"
#include "runtime/request.h"

namespace lockstep {

struct EngineOptions {
  int64_t max_batch_size = 64;       // requests that run at once
  int64_t max_batched_tokens = 512;  // rows of one step; at least max_batch_size
  int64_t max_prefill_chunk = 0;     // of one prompt in a step; 0: what max_batched_tokens leaves
  int64_t max_length = 0;            // prompt and output of one request; 0: the model's
  int64_t cache_tokens = 0;          // that the paged caches hold; 0: by memory, see plan_engine()
  int64_t page_size = 16;            // tokens a page
  int64_t max_snapshots = 0;         // states kept for later prompts; 0: as many as may run
  int64_t max_waiting = 4096;        // submit() refuses beyond
  int64_t max_logprobs = 20;         // a position; -1: no bound
  bool prefix_caching = true;
};

/// The sizes an engine needs its pipeline made for, and what they come from.
struct EnginePlan {
  EngineOptions options;             // nothing left 0
  PipelineOptions pipeline;          // ranks, threads and kernels are the caller's
  uint64_t cache_bytes_a_token = 0;  // all layers; 0: states alone
  uint64_t state_bytes = 0;          // of one sequence; 0: none
  uint64_t cache_bytes = 0;          // pages and states together
  uint64_t logits_bytes = 0;
};

/// Fills in what `options` leaves open. cache_tokens: what max_batch_size requests of max_length
/// need, at most a third of `memory_bytes` (0: the machine's). Throws kInvalidArgument naming the
/// option, expected and found.
EnginePlan plan_engine(const Model& model, const EngineOptions& options, uint64_t memory_bytes = 0);

class Engine {
 public:
  /// Starts the thread. `pipeline` was made with plan.pipeline and is the engine's from now on.
  /// `defaults` say which tokens end a text.
  Engine(std::unique_ptr<Pipeline> pipeline, const EnginePlan& plan,
         const GenerationDefaults& defaults);
  /// As stop().
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // All of what follows may be called from any thread.

  /// What of `request` cannot be met; submit() refuses just that. "prompt" for the ids and their
  /// number.
  std::optional<InvalidParameter> check(const Request& request) const;
  /// Queues a request and returns its id (never 0). Throws kInvalidArgument "<parameter>: ..." as
  /// check(), kResourceExhausted when max_waiting requests wait, kUnavailable when the engine is
  /// draining or stopped; then `sink` is never called.
  uint64_t submit(Request request, EventSink sink);
  /// Ends a request with kAbort, its last event; pages are free after the step that runs, at
  /// the latest. Nothing happens when it is unknown or over.
  void cancel(uint64_t id);

  /// As of the last step.
  EngineStats stats() const;
  /// No request is accepted from now on; returns at once. The others run to their ends.
  void drain();
  /// Waits until no request is left, or `deadline`; whether none is.
  bool wait_idle(std::optional<Clock::time_point> deadline = {});
  /// Ends every request with kAbort and joins the thread. Idempotent.
  void stop();

  // Fixed while it lives.
  const EnginePlan& plan() const noexcept;
  const Model& model() const noexcept;
  const GenerationDefaults& defaults() const noexcept;
  int64_t vocab_size() const noexcept;
  /// Tokens of prompt and output together that a request may have.
  int64_t max_length() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep
