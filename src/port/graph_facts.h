// What a traced graph is, in the words that people use for it: kinds of norms, rotation, attention,
// experts. The graph's ops and attributes say so, names only where nothing else can.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "graph/trace.h"

namespace lockstep::port {

/// One attention op.
struct AttentionFacts {
  std::string path;  // of the module it is in
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
  int64_t window = 0;  // 0: none
  bool has_soft_cap = false, has_sinks = false, has_alibi = false, is_latent = false;
  bool is_rotated = false;         // q goes through a rotation
  bool is_partly_rotated = false;  // which leaves channels of a head alone
  bool has_qk_norm = false;        // q goes through a norm behind its projection
  bool has_input_norm = false;     // its module is given the result of a norm
  bool has_output_norm = false;    // the result goes through a norm before it is added
  std::string rope_style;          // of q's rotation, as of the op; empty: none
};

struct ExpertFacts {
  std::string path;
  int64_t experts = 0, chosen = 0;
  std::string scoring;  // "softmax" or "sigmoid"; empty: not found
};

struct GraphFacts {
  std::map<std::string, size_t, std::less<>> ops;  // op -> how many
  std::set<std::string, std::less<>> classes;      // of module calls
  std::set<std::string, std::less<>> names;        // parts of paths: "q_norm", "layers"; and taps
  std::set<std::string, std::less<>> activations;  // "silu", "gelu_tanh", as of the op
  std::vector<AttentionFacts> attentions;
  std::vector<ExpertFacts> experts;
  std::set<int64_t> layers;  // numbers behind "layers" or the like
  bool has_gate = false;     // an activation times another projection
  bool is_tied = false, has_learned_positions = false, has_shared_experts = false;
  bool has_unit_offset = false;  // 1 + w in norms
  bool has_attention_bias = false, has_mlp_bias = false;
  bool is_parallel = false;  // attention and MLP read one value
  bool has_logit_cap = false;

  size_t count(std::string_view op) const;
  bool has_state() const;  // a state-space or delta-rule op
};

GraphFacts facts_of(const Trace& trace);

}  // namespace lockstep::port
