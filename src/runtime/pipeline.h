// A model ready to run: weights, graph, memory, caches. Prefill, chunked prefill and decode are
// the same graph with other numbers.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "graph/trace.h"
#include "hub/checkpoint.h"
#include "ops/op.h"
#include "runtime/counted_ids.h"
#include "runtime/ranks.h"
#include "runtime/registry.h"

namespace lockstep {

/// A traced model with its files: what `graph`, audits and pipelines begin with. No weight is
/// read. Movable.
struct Model {
  ModelFiles files;
  const LockstepArchitecture* architecture = nullptr;
  Trace trace;
  int64_t max_length = 0;  // config.json's max_position_embeddings; 0 where it has none

  /// Opens, resolves, traces and audits. `dtype` is the type between modules; none takes the
  /// checkpoint's own (float32 for float16 weights). Throws as trace() and require().
  static Model open(const std::string& model, const Registry& registry,
                    std::optional<DType> dtype = {});
  /// What a user should know: ties, renamed prefixes, dropped tensors, unread config keys.
  std::vector<std::string> notices() const;
};

/// The checkpoint's own type: `dtype` of config.json, else the type of most weights.
DType default_activation_dtype(const ModelFiles& files);
/// "float32" or "bfloat16". Throws kInvalidArgument naming `flag`.
DType parse_activation_dtype(const std::string& flag, const std::string& name);

struct PipelineOptions {
  int64_t max_tokens = 512;      // rows of one step
  int64_t max_sequences = 1;     // sequences of one step
  int64_t max_context = 2048;    // tokens the caches hold, all sequences together
  int64_t max_logit_rows = 512;  // rows of logits of one step
  int64_t page_size = 16;        // tokens a cache page
  int64_t max_states = 0;        // sequences that live at once (0: max_sequences)
  int n_ranks = 1;               // devices that share the work
  int threads = 0;               // of all ranks together; 0: one per core
  KernelPolicy kernels;
};

/// The part of the caches a sequence has filled, which it holds until Pipeline::release. Its first
/// pages may be shared, full ones alone: a step writes from position `length` on.
struct Sequence {
  std::vector<int32_t> pages;
  int32_t slot = -1;   // of its states
  int64_t length = 0;  // tokens
};

enum class LogitRows : uint8_t { kNone, kLast, kAll };

/// The new tokens of one sequence in a step.
struct Segment {
  Sequence* sequence;
  std::span<const int32_t> tokens;
  LogitRows logits = LogitRows::kLast;
};

class Pipeline {
 public:
  /// Allocates once, for the largest step. Throws kResourceExhausted when memory is not there.
  Pipeline(Model model, const PipelineOptions& options);
  // Its parts point into each other.
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;

  /// Runs one step and returns the wanted logits, [rows, vocab] in the activation dtype, in the
  /// order of the segments, valid until the next step. Throws kInvalidArgument for an empty segment
  /// or an id outside the vocabulary, kResourceExhausted when the caches are full; then no sequence
  /// has changed.
  View step(std::span<const Segment> segments);

  /// Feeds `tokens` in chunks of `chunk` (0: max_tokens) and returns the logits of the last one.
  View prefill(Sequence& sequence, std::span<const int32_t> tokens, int64_t chunk = 0);

  void release(Sequence& sequence);

  /// Who holds what of the caches. A step takes what its sequences lack; whoever takes pages and
  /// slots for a sequence beforehand puts them into it.
  CountedIds& pages() { return pages_; }
  CountedIds& slots() { return slots_; }
  bool has_pages() const { return is_paged_; }
  bool has_states() const { return has_states_; }
  /// Pages that `length` tokens fill; 0 without paged caches.
  int64_t pages_for(int64_t length) const;
  /// A slot for `sequence`, which has none, with the states of a beginning. One must be free.
  void take_slot(Sequence& sequence);
  /// The states of slot `to` become those of slot `from`.
  void copy_slot(int32_t from, int32_t to) { ranks_->copy_slot(from, to); }
  /// What the rows of logits are chosen from: the hidden states after the final norm, [tokens,
  /// hidden]. None where the graph computes logits otherwise.
  std::optional<ValueId> hidden_states() const;

  /// Reports values of every following step; no values to stop.
  void observe(const std::vector<ValueId>& values, Observe observe);

  const Graph& graph() const { return model_.trace.graph; }
  const Model& model() const { return model_; }
  /// Of rank 0: with one rank parallel to graph().parameters.
  const Weights& weights() const { return ranks_->weights(); }
  const PipelineOptions& options() const { return options_; }
  int64_t vocab_size() const;
  /// Of rank 0.
  RunContext& context() { return ranks_->context(); }
  /// Of all ranks together.
  uint64_t arena_bytes() const { return ranks_->arena_bytes(); }
  uint64_t cache_bytes() const { return ranks_->cache_bytes(); }
  /// What a user should know of this run, beside Model::notices().
  std::vector<std::string> notices() const;

 private:
  void check(std::span<const Segment> segments) const;
  void take_pages(std::span<const Segment> segments);
  void fill_step_data(std::span<const Segment> segments);

  Model model_;
  PipelineOptions options_;
  bool is_paged_ = false;  // without, states alone: no length is too long
  bool has_states_ = false;
  CountedIds pages_, slots_;
  std::unique_ptr<Ranks> ranks_;
  std::vector<int32_t> input_ids_, positions_, row_offsets_, page_offsets_, step_pages_,
      logit_rows_, state_slots_;
};

/// The index of the largest element of a row of logits; the lowest of equals, as torch.argmax.
int32_t argmax(const View& logits, int64_t row);

}  // namespace lockstep
