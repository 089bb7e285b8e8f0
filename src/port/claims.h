// Claims about architecture that a sentence can make, and what the graph answers to each.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "hub/config.h"
#include "port/graph_facts.h"

namespace lockstep::port {

/// What a claim is held against.
struct ClaimFacts {
  GraphFacts graph;
  std::vector<std::string> rope_types;  // of config.json: "yarn", "llama3", ...
};
ClaimFacts claim_facts(const Trace& trace, const ConfigFile& config);

/// A claim as it was found in a sentence.
struct FoundClaim {
  size_t begin = 0, end = 0;  // in the sentence
  bool is_denied = false;     // "no QK-norm"
  bool holds = false;         // what it says, denial included, is so
  std::string evidence;
};

/// Claims of kinds: devices, norms, rotation, positions, attention, experts, activation, head,
/// residuals. Sorted by place, none overlapping another.
std::vector<FoundClaim> find_claims(std::string_view sentence, const ClaimFacts& facts);

/// Whether what begins at `at` is denied: "no", "without", "instead of" and the like before it, in
/// its own clause.
bool is_denied_at(std::string_view sentence, size_t at);

}  // namespace lockstep::port
