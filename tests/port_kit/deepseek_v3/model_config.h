// The keys of config.json that DeepseekV3ForCausalLM reads, with the defaults of the reference's
// config class.
//
// Derived from DeepseekV2ForCausalLM (lockstep/archs/deepseek_v2.h).
//
// Deltas implemented: 1, how experts are chosen; 2, how channels are rotated.
#pragma once

#include "lockstep/archs/deepseek_v2.h"

namespace lockstep::port_deepseek_v3 {

using namespace lockstep::deepseek_v2;

/// config.json as the donor's configuration can read it.
inline const Config& readable(const Config& c) {
  // The reference's class has no such key.
  c.replace("topk_method");
  return c;
}

struct DeepseekV3Config : deepseek_v2::DeepseekV2Config {
  explicit DeepseekV3Config(const Config& c) : DeepseekV2Config(c) {
    first_k_dense_replace = c.size("first_k_dense_replace", 3, 0);
    // Delta 2 (modeling_deepseek_v3.py:445): neighbours are rotated, and laid out in halves.
    attention.rope_style =
        c.flag("rope_interleave", true) ? RopeStyle::kInterleavedToHalf : RopeStyle::kHalf;
    routing = {.top_k = c.size("num_experts_per_tok", 8),
               .scoring = "sigmoid",
               .normalise = c.flag("norm_topk_prob", true),
               .scaling = c.number("routed_scaling_factor", 2.5),
               .n_group = c.size("n_group", 8),
               .topk_group = c.size("topk_group", 4)};
  }
};

}  // namespace lockstep::port_deepseek_v3
