// How the checkpoint of DeepseekV3ForCausalLM stores what the port reads.
//
// Derived from DeepseekV2ForCausalLM (lockstep/archs/deepseek_v2.h).
//
// Deltas implemented: none, every stored tensor is read under its own name.
#pragma once

#include "lockstep/lockstep.h"

namespace lockstep::port_deepseek_v3 {

/// Names the stored tensors that are not read, and why.
inline const Scope& weight_steps(const Scope& s, const Config&) {
  s.builder().drop("*rotary_emb.inv_freq", "a buffer: computed from config.json");
  return s;
}

}  // namespace lockstep::port_deepseek_v3
