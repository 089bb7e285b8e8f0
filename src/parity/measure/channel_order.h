// Orders of channels that have a name: what rotary styles, fused projections and sharded files do
// to the rows of a weight.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lockstep::parity::measure {

/// The name of the order in which channel c is channel places[c] of another list; empty where it
/// has none, or is no permutation, or moves nothing. head_dim, n_heads and n_kv_heads may be 0.
std::string order_name(const std::vector<int64_t>& places, int64_t head_dim, int64_t n_heads,
                       int64_t n_kv_heads);

}  // namespace lockstep::parity::measure
