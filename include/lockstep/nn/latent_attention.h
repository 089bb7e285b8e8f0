// Multi-head latent attention, as DeepSeek-V2 and V3 have it: keys and values are made of a short
// latent a token, and the cache holds the latents.
#pragma once

#include <optional>

#include "lockstep/nn/linear.h"
#include "lockstep/nn/rms_norm.h"
#include "lockstep/nn/rope.h"
#include "lockstep/step.h"

namespace lockstep {

/// Sizes and rules, under the keys of the reference's config classes.
struct LatentAttentionConfig {
  int64_t hidden_size, num_attention_heads;
  int64_t q_lora_rank;  ///< 0: queries are not compressed
  int64_t kv_lora_rank, qk_nope_head_dim, qk_rope_head_dim, v_head_dim;
  double scaling;
  Bias attention_bias;
  RopeStyle rope_style;
};

/// x [T, H] -> [T, H]. kv_b_proj, called on the new tokens, computes only when it is tapped: the
/// attention reads the cached latents.
struct LatentAttention : Module<LatentAttention> {
  static constexpr const char* kClass = "LatentAttention";
  LatentAttentionConfig c;
  std::optional<Linear> q_proj, q_a_proj, q_b_proj;
  std::optional<RMSNorm> q_a_layernorm;
  Linear kv_a_proj_with_mqa;
  RMSNorm kv_a_layernorm;
  Linear kv_b_proj, o_proj;

  LatentAttention(const Scope& s, const LatentAttentionConfig& config)
      : Module(s),
        c(config),
        kv_a_proj_with_mqa(s / "kv_a_proj_with_mqa", c.hidden_size,
                           c.kv_lora_rank + c.qk_rope_head_dim, c.attention_bias),
        kv_a_layernorm(s / "kv_a_layernorm", c.kv_lora_rank, 1e-6),
        kv_b_proj(s / "kv_b_proj", c.kv_lora_rank,
                  c.num_attention_heads * (c.qk_nope_head_dim + c.v_head_dim)),
        o_proj(s / "o_proj", c.num_attention_heads * c.v_head_dim, c.hidden_size,
               c.attention_bias) {
    const int64_t q_width = c.num_attention_heads * (c.qk_nope_head_dim + c.qk_rope_head_dim);
    if (c.q_lora_rank == 0) {
      q_proj.emplace(s / "q_proj", c.hidden_size, q_width);
      return;
    }
    q_a_proj.emplace(s / "q_a_proj", c.hidden_size, c.q_lora_rank, c.attention_bias);
    q_a_layernorm.emplace(s / "q_a_layernorm", c.q_lora_rank, 1e-6);
    q_b_proj.emplace(s / "q_b_proj", c.q_lora_rank, q_width);
  }
  /// As a family's attention (nn/decoder.h), whose config has one as `attention`.
  template <class FamilyConfig>
  LatentAttention(const Scope& s, const FamilyConfig& family, int64_t /*layer_idx*/)
      : LatentAttention(s, family.attention) {}

  Value queries(const Value& x) const {
    if (q_proj) return (*q_proj)(x);
    const Value compressed = (*q_a_proj)(x);
    const Value normed = (*q_a_layernorm)(compressed);
    return (*q_b_proj)(normed);
  }

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    const int64_t nope = c.qk_nope_head_dim, rope = c.qk_rope_head_dim, rank = c.kv_lora_rank;
    const Value q = split_heads(queries(x), nope + rope);
    const Value q_pass = slice(q, 0, nope);
    const Value compressed_kv = kv_a_proj_with_mqa(x);
    const Value latent = kv_a_layernorm(slice(compressed_kv, 0, rank));
    const Value kv = split_heads(kv_b_proj(latent), nope + c.v_head_dim);

    const Value q_rot = apply_rotary_pos_emb(slice(q, nope, nope + rope), positions, c.rope_style);
    const Value k_pe = split_heads(slice(compressed_kv, rank, rank + rope), rope);
    const Value k_rot = apply_rotary_pos_emb(k_pe, positions, c.rope_style);
    Builder& b = step.builder();
    b.tap("q_rot", concat(q_pass, q_rot));
    b.tap("k_rot", concat(slice(kv, 0, nope), k_rot));
    b.tap("v", slice(kv, nope, nope + c.v_head_dim));
    return o_proj(merge_heads(step.attend_latent(q_pass, q_rot, latent, merge_heads(k_rot),
                                                 kv_b_proj.weight, {.scale = c.scaling})));
  }
};

}  // namespace lockstep
