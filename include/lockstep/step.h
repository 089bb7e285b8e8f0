// What a step brings to forward(): ids, positions, caches. Named inputs of the graph, recorded and
// replaceable like any tap.
#pragma once

#include "lockstep/builder.h"
#include "lockstep/ops.h"

namespace lockstep {

class Step {
 public:
  explicit Step(Builder& builder) : builder_(&builder) {}

  Builder& builder() const { return *builder_; }
  /// int32 [T]
  Value input_ids() const { return builder_->input("@input_ids"); }
  /// int32 [T], absolute, from 0 in each sequence
  Value position_ids() const { return builder_->input("@positions"); }
  /// The rows whose logits are wanted (`logits_to_keep` of the reference). [T, H] -> [R, H]
  Value logits_to_keep(const Value& x) const {
    return gather_rows(x, builder_->input("@logit_rows"));
  }

  struct AttendOptions {
    double scale;  ///< Multiplies q k^T; the reference's `scaling`.
  };
  /// Causal attention over this sequence's cache, which the call declares: q [T, heads, k_dim],
  /// k [T, kv_heads, k_dim], v [T, kv_heads, v_dim] -> [T, heads, v_dim]. Query head h reads
  /// key/value head h / (heads / kv_heads). Taps q_rot, k_rot, v and context, as transformers'
  /// attention interface gets and gives them.
  Value attend(const Value& q, const Value& k, const Value& v, AttendOptions options) const {
    Builder& b = *builder_;
    b.tap("q_rot", q);
    b.tap("k_rot", k);
    b.tap("v", v);
    const Value k_cache = b.paged_cache("k_cache", k.size(-2), k.size(-1));
    const Value v_cache = b.paged_cache("v_cache", v.size(-2), v.size(-1));
    const Value context = b.op("attention",
                               {q, k, v, b.input("@positions"), b.input("@row_offsets"),
                                b.input("@page_offsets"), b.input("@pages"), k_cache, v_cache},
                               {{"scale", options.scale}});
    b.tap("context", context);
    return context;
  }

  /// Causal attention whose keys and values are kv_b latent, over this sequence's cache of latents,
  /// which the call declares: q_nope [T, heads, n], q_rot [T, heads, r], latent [T, rank],
  /// k_rot [T, r], kv_b [heads * (n + v_dim), rank] -> [T, heads, v_dim]. Tap context.
  Value attend_latent(const Value& q_nope, const Value& q_rot, const Value& latent,
                      const Value& k_rot, const Value& kv_b, AttendOptions options) const {
    Builder& b = *builder_;
    const Value cache = b.paged_cache("latent_cache", 1, latent.size(-1) + k_rot.size(-1));
    const Value context =
        b.op("latent_attention",
             {q_nope, q_rot, latent, k_rot, kv_b, b.input("@positions"), b.input("@row_offsets"),
              b.input("@page_offsets"), b.input("@pages"), cache},
             {{"scale", options.scale}});
    b.tap("context", context);
    return context;
  }

 private:
  Builder* builder_;
};

}  // namespace lockstep
