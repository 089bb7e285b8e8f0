// Causal attention over a paged cache, for a ragged batch of sequences.
//
//   rows of the step      [ s0 s0 s0 | s1 | s2 s2 ]     row_offsets = 0 3 4 6
//   page table            [ 7 2 | 5 | 0 9 4 ]           page_offsets = 0 2 3 6
//   token at position p of sequence s: page pages[page_offsets[s] + p / page_size],
//   slot p % page_size
//
// First k and v of the step are written into the cache. Then row t of sequence s, query head h, key
// and value head g = h / (n_heads / n_kv_heads), attends to the positions of key_range():
//   score[j] = cap(scale * sum_d q[t, h, d] * k_cache[j, g, d]) + alibi_scale * (b[j] - b[t])
//   out[t, h, :] = sum_j softmax(score)[j] * v_cache[j, g, :]
//
//   cap(s) = soft_cap * tanh(s / soft_cap), or s
//   b[j] = slopes[h] * position of j, or 0; softmax is blind to - b[t], which keeps scores small
//   a sink of head h is one more score, whose key has no value
//
// Rounding: scores, softmax (maximum subtracted) and sums in float32, one rounding to q's type; the
// cache holds k and v as they came. b is exact to float32, or, where the reference
// holds it so whatever the type between modules, slope, position and product are each rounded to
// bfloat16. `ref` computes in float64.
#pragma once

#include "ops/op.h"

namespace lockstep::ops {

enum class AlibiRounding { kNone, kBFloat16 };

struct AttentionArgs {
  const void* q;                // [n_tokens, n_heads, key_width] of dtype
  const void* k;                // [n_tokens, n_kv_heads, key_width] of dtype
  const void* v;                // [n_tokens, n_kv_heads, value_width] of dtype
  const int32_t* positions;     // [n_tokens], absolute, from 0
  const int32_t* row_offsets;   // [n_sequences + 1]
  const int32_t* page_offsets;  // [n_sequences + 1]
  const int32_t* pages;         // [page_offsets[n_sequences]]
  void* k_cache;                // [n_cache_pages, n_kv_heads, page_size, key_width] of dtype
  void* v_cache;                // [n_cache_pages, n_kv_heads, page_size, value_width] of dtype
  const void* sinks;            // [n_heads] of sinks_dtype, or nullptr
  const double* alibi_slopes;   // [n_heads], or nullptr
  void* out;                    // [n_tokens, n_heads, value_width] of dtype
  int64_t n_tokens, n_sequences, n_heads, n_kv_heads, key_width, value_width, page_size;
  int64_t window;  // keys at positions above position - window alone; 0: no bound
  float scale;
  float soft_cap;  // 0: none
  float alibi_scale;
  AlibiRounding alibi_rounding;
  DType dtype, sinks_dtype;
};

/// Positions [begin, end) that a query may see.
struct KeyRange {
  int64_t begin, end;
};
inline KeyRange key_range(const AttentionArgs& args, int64_t position) noexcept {
  const int64_t end = position + 1;
  return {args.window == 0 || args.window > end ? 0 : end - args.window, end};
}

/// Index in k_cache and v_cache of [page, kv_head, slot], in units of the last dimension.
inline int64_t cache_row(const AttentionArgs& args, int64_t sequence, int64_t kv_head,
                         int64_t position) noexcept {
  const int64_t page = args.pages[args.page_offsets[sequence] + position / args.page_size];
  return (page * args.n_kv_heads + kv_head) * args.page_size + position % args.page_size;
}

/// Copies the step's k and v into the cache.
void write_cache(const AttentionArgs& args, ThreadPool& pool) noexcept;

void attention_ref(const AttentionArgs& args, ThreadPool& pool) noexcept;
/// Keys in order, in blocks aligned to absolute positions: chunks, batches and threads do not
/// change a row's bits.
void attention_cpu(const AttentionArgs& args, ThreadPool& pool) noexcept;

/// (q [T, H, Dk], k [T, KV, Dk], v [T, KV, Dv], positions int32[T], row_offsets int32[S + 1],
/// page_offsets int32[S + 1], pages int32[P], k_cache [C, KV, page, Dk], v_cache [C, KV, page, Dv],
/// sinks [H] or none) -> [T, H, Dv] of q's type. Attributes: scale, window (default 0), soft_cap
/// (0), alibi_slopes (floats, H of them or none), alibi_scale (1.0), alibi_rounding ("none" or
/// "bfloat16"). Writes the caches.
extern const OpDef attention;

}  // namespace lockstep::ops
