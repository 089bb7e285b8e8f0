// The sizes of an engine: what the options leave open, from the model and the machine's memory.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "lockstep/error.h"
#include "runtime/engine.h"

namespace lockstep {
namespace {

// Of a model that names no longest text. Pages hold it whole; states do not grow.
constexpr int64_t kPagedLength = 4096, kUnboundedLength = int64_t{1} << 20;
// Rows of logits beyond one a request, for prompt_logprobs.
constexpr uint64_t kLogitBytes = uint64_t{32} << 20;
constexpr int64_t kMinPromptRows = 16;

uint64_t bytes_of(const Graph& graph, LockstepCacheKind kind) {
  SymbolValues ones;
  ones.fill(1);
  uint64_t bytes = 0;
  for (const CacheInput& cache : graph.caches) {
    const TensorType& type = graph.nodes[cache.node].outputs[0];
    if (cache.kind != kind) continue;
    bytes += static_cast<uint64_t>(type.shape.elements(ones)) * dtype_size(type.dtype);
  }
  return bytes;
}

uint64_t machine_memory() {
  const long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGE_SIZE);
  return pages > 0 && size > 0 ? static_cast<uint64_t>(pages) * static_cast<uint64_t>(size)
                               : uint64_t{1} << 32;
}

void expect(bool holds, const char* option, const std::string& expected, int64_t found) {
  if (holds) return;
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("{}: expected {}, found {}", option, expected, found));
}

void check_options(const EngineOptions& o) {
  expect(o.max_batch_size >= 1, "max_batch_size", "1 or more", o.max_batch_size);
  expect(o.max_batched_tokens >= o.max_batch_size, "max_batched_tokens",
         fmt::format("at least max_batch_size ({})", o.max_batch_size), o.max_batched_tokens);
  expect(o.page_size >= 1, "page_size", "1 or more", o.page_size);
  expect(o.max_waiting >= 1, "max_waiting", "1 or more", o.max_waiting);
  expect(o.max_logprobs >= -1, "max_logprobs", "-1, 0 or more", o.max_logprobs);
  const std::pair<const char*, int64_t> sizes[] = {{"max_prefill_chunk", o.max_prefill_chunk},
                                                   {"max_length", o.max_length},
                                                   {"cache_tokens", o.cache_tokens},
                                                   {"max_snapshots", o.max_snapshots}};
  for (const auto& [name, size] : sizes) expect(size >= 0, name, "0 or more", size);
}

void choose_lengths(EnginePlan& plan, int64_t model_length, uint64_t memory_bytes) {
  EngineOptions& o = plan.options;
  const bool is_paged = plan.cache_bytes_a_token > 0;
  expect(model_length == 0 || o.max_length <= model_length, "max_length",
         fmt::format("at most {} (max_position_embeddings)", model_length), o.max_length);
  const int64_t asked = o.max_length;
  if (o.max_length == 0) o.max_length = model_length;
  if (o.max_length == 0) o.max_length = is_paged ? kPagedLength : kUnboundedLength;
  if (!is_paged) {
    o.cache_tokens = o.page_size;
    return;
  }
  if (o.cache_tokens == 0) {
    const uint64_t most = std::max(uint64_t{1}, memory_bytes / 3 / plan.cache_bytes_a_token);
    const int64_t wanted =
        o.max_length > INT64_MAX / o.max_batch_size ? INT64_MAX : o.max_length * o.max_batch_size;
    o.cache_tokens = static_cast<int64_t>(std::min(static_cast<uint64_t>(wanted), most));
  }
  expect(asked <= o.cache_tokens, "max_length",
         fmt::format("at most the {} tokens that the caches hold (cache_tokens)", o.cache_tokens),
         asked);
  o.max_length = std::min(o.max_length, o.cache_tokens);
}

}  // namespace

EnginePlan plan_engine(const Model& model, const EngineOptions& options, uint64_t memory_bytes) {
  check_options(options);
  const Graph& graph = model.trace.graph;
  EnginePlan plan;
  plan.options = options;
  EngineOptions& o = plan.options;
  plan.cache_bytes_a_token = bytes_of(graph, LOCKSTEP_CACHE_PAGED);
  plan.state_bytes = bytes_of(graph, LOCKSTEP_CACHE_SLOT);
  choose_lengths(plan, model.max_length, memory_bytes > 0 ? memory_bytes : machine_memory());
  if (o.max_prefill_chunk == 0) o.max_prefill_chunk = o.max_batched_tokens;
  if (o.max_snapshots == 0) o.max_snapshots = o.max_batch_size;

  const TensorType& logits = graph.type(graph.outputs[0].value);
  const uint64_t row_bytes =
      static_cast<uint64_t>(logits.shape[-1].count) * dtype_size(logits.dtype);
  const int64_t prompt_rows =
      std::max(kMinPromptRows, static_cast<int64_t>(kLogitBytes / row_bytes));
  PipelineOptions& p = plan.pipeline;
  p.max_tokens = o.max_batched_tokens;
  p.max_sequences = o.max_batch_size;
  p.max_context = o.cache_tokens;
  p.max_logit_rows = o.max_batch_size + std::min(prompt_rows, o.max_batched_tokens);
  p.page_size = o.page_size;
  const bool has_snapshots = plan.state_bytes > 0 && o.prefix_caching;
  p.max_states = o.max_batch_size + (has_snapshots ? o.max_snapshots : 0);
  plan.logits_bytes = row_bytes * static_cast<uint64_t>(p.max_logit_rows);
  plan.cache_bytes = plan.cache_bytes_a_token * static_cast<uint64_t>(o.cache_tokens) +
                     plan.state_bytes * static_cast<uint64_t>(p.max_states);
  return plan;
}

}  // namespace lockstep
