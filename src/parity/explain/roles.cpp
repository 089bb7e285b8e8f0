#include "parity/explain/roles.h"

#include <map>

namespace lockstep::parity {
namespace {

using Roles = std::vector<std::string>;

// As each op's header lists its inputs.
const std::map<std::string, Roles, std::less<>>& all_roles() {
  static const std::map<std::string, Roles, std::less<>> roles = {
      {"linear", {"x", "weight", "bias"}},
      {"rms_norm", {"x", "weight"}},
      {"layer_norm", {"x", "weight", "bias"}},
      {"rope", {"x", "cos", "sin"}},
      {"rotary_embedding", {"positions"}},
      {"activation", {"x"}},
      {"attention",
       {"q", "k", "v", "positions", "row_offsets", "page_offsets", "pages", "k_cache", "v_cache",
        "sinks"}},
      {"latent_attention",
       {"q_nope", "q_rot", "latent", "k_rot", "kv_b", "positions", "row_offsets", "page_offsets",
        "pages", "cache"}},
      {"router_topk", {"logits", "bias"}},
      {"experts", {"x", "ids", "weights", "gate_up", "down", "gate_up_bias", "down_bias"}},
      {"elementwise", {"a", "b"}},
      {"concat", {"a", "b"}},
      {"embedding", {"ids", "weight"}},
      {"gather_rows", {"x", "rows"}},
      {"slice", {"x"}},
      {"cast", {"x"}},
      {"causal_conv", {"x", "weight", "row_offsets", "slots", "state", "bias"}},
      {"ssd_scan", {"x", "B", "C", "dt", "A_log", "D", "dt_bias", "row_offsets", "slots", "state"}},
      {"selective_scan", {"x", "B", "C", "dt", "A_log", "D", "row_offsets", "slots", "state"}},
      {"gated_delta_rule",
       {"q", "k", "v", "a", "beta", "A_log", "dt_bias", "row_offsets", "slots", "state"}},
  };
  return roles;
}

}  // namespace

std::vector<std::string> roles_of(std::string_view op, size_t n) {
  Roles roles;
  const auto known = all_roles().find(op);
  if (known != all_roles().end()) roles = known->second;
  for (size_t i = roles.size(); i < n; ++i) roles.push_back("input." + std::to_string(i));
  roles.resize(n);
  return roles;
}

}  // namespace lockstep::parity
