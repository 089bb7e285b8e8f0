// out = the whole of a value of which every rank has some ranges along one dimension. Where ranks
// have the same elements, the last of them gives them.
//
// Rounding: none.
#pragma once

#include "base/communicator.h"
#include "ops/op.h"

namespace lockstep::ops {

struct AllGatherArgs {
  const void* x;                    // [outer, this rank's ranges, inner_bytes]
  void* out;                        // [outer, size, inner_bytes]
  std::span<const int64_t> ranks;   // of each range
  std::span<const int64_t> bounds;  // begin, end of each range in [0, size)
  int64_t outer, size;
  size_t inner_bytes;
  Communicator* others;  // nullptr: alone, and x holds the ranges of rank 0
};

/// The call that makes `out` of x, both with what comes before and after dimension `dim`.
AllGatherArgs all_gather_args(const View& x, const View& out, int dim,
                              std::span<const int64_t> ranks, std::span<const int64_t> bounds,
                              Communicator* others);

void all_gather_ref(const AllGatherArgs& args, ThreadPool& pool) noexcept;
void all_gather_cpu(const AllGatherArgs& args, ThreadPool& pool) noexcept;

/// (x [...]) -> x's type with dimension `dim` of `size` elements. Attributes: dim, size, and for
/// every range in the order of ranks: ranks (its rank), bounds (its begin and end).
extern const OpDef all_gather;

}  // namespace lockstep::ops
