// Multi-head latent attention: causal attention whose keys and values are linear in a short latent
// that is cached in their place. Rows, sequences and pages as in attention.h; one cache row a
// token, shared by all heads: the latent, then the rotated part of the key.
//
//   Wk = kv_b[h, 0 .. nope), Wv = kv_b[h, nope .. nope + value)
//   score[j] = scale * (q_nope[t, h] . Wk latent[j] + q_rot[t, h] . k_rot[j]),  j <= position of t
//   out[t, h] = sum_j softmax(score)[j] * Wv latent[j]
//
// Equally score[j] = scale * (Wk^T q_nope . latent[j] + ...) and out = Wv (sum_j ... latent[j]):
// `expanded` computes the first form, `absorbed` the second, which never makes keys and values.
//
// Rounding: everything in float32, one rounding to q's type; the cache holds latents and k_rot as
// they came. (The reference rounds expanded keys and values to its type.) `ref` computes in
// float64.
#pragma once

#include "ops/op.h"

namespace lockstep::ops {

struct LatentAttentionArgs {
  const void* q_nope;           // [n_tokens, n_heads, nope_width] of dtype
  const void* q_rot;            // [n_tokens, n_heads, rot_width] of dtype
  const void* latent;           // [n_tokens, rank] of dtype
  const void* k_rot;            // [n_tokens, rot_width] of dtype
  const void* kv_b;             // [n_heads, nope_width + value_width, rank] of weight_dtype
  const int32_t* positions;     // [n_tokens], absolute, from 0
  const int32_t* row_offsets;   // [n_sequences + 1]
  const int32_t* page_offsets;  // [n_sequences + 1]
  const int32_t* pages;         // [page_offsets[n_sequences]]
  void* cache;                  // [n_cache_pages, 1, page_size, rank + rot_width] of dtype
  void* out;                    // [n_tokens, n_heads, value_width] of dtype
  int64_t n_tokens, n_sequences, n_heads, nope_width, rot_width, value_width, rank, page_size;
  float scale;
  DType dtype, weight_dtype;
};

/// Index in the cache of a position's row, in units of rank + rot_width.
inline int64_t latent_row(const LatentAttentionArgs& args, int64_t sequence,
                          int64_t position) noexcept {
  const int64_t page = args.pages[args.page_offsets[sequence] + position / args.page_size];
  return page * args.page_size + position % args.page_size;
}

/// Copies the step's latents and rotated keys into the cache.
void write_latents(const LatentAttentionArgs& args, ThreadPool& pool) noexcept;

void latent_attention_ref(const LatentAttentionArgs& args, ThreadPool& pool) noexcept;
/// Keys and values made from the latents, a block at a time: for many new tokens a sequence.
void latent_attention_expanded(const LatentAttentionArgs& args, ThreadPool& pool) noexcept;
/// Refuses where folding the queries costs less. That depends on the number of rows, so that in
/// float32 this kernel never runs.
const char* latent_attention_expanded_refuse(const LatentAttentionArgs& args);
/// Queries folded into the latent space.
void latent_attention_absorbed(const LatentAttentionArgs& args, ThreadPool& pool) noexcept;

/// (q_nope [T, H, Dn], q_rot [T, H, Dr], latent [T, R], k_rot [T, Dr], kv_b [H * (Dn + Dv), R],
/// positions int32[T], row_offsets int32[S + 1], page_offsets int32[S + 1], pages int32[P],
/// cache [C, 1, page, R + Dr]) -> [T, H, Dv] of q_nope's type. Attribute: scale. Writes the cache.
extern const OpDef latent_attention;

}  // namespace lockstep::ops
