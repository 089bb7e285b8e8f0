// Attention with one thing wrong, straightforwardly in float64.
#pragma once

#include "graph_edit.h"

namespace lockstep::mutants {

struct WrongAttention {
  int64_t keys_ahead = 0;   // of a query's own position, that it sees
  bool tile_heads = false;  // query head h reads key head h mod n
  int64_t decode_keys = 0;  // more keys than there are, in a step of one token
};

/// In place of the op `attention`: everything its attributes say, but for what is wrong.
Wrong wrong_attention(const WrongAttention& wrong);

}  // namespace lockstep::mutants
