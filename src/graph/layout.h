// How a value of a graph lies on ranks: whole on each, or some ranges of one dimension.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ops/shard.h"

namespace lockstep {

/// The ranges that each rank has, in ascending order, not touching each other. Ranks may share
/// elements: key and value heads when there are fewer than ranks.
using Spread = std::vector<std::vector<Range>>;

struct Layout {
  int dim = -1;   // -1: every rank has all
  Spread ranges;  // [rank]; empty when whole

  bool is_whole() const { return dim < 0; }
  /// Elements that `rank` has of the split dimension.
  int64_t size(int rank) const;
  friend bool operator==(const Layout&, const Layout&) = default;
};

/// "whole", "dim 1: 0-32 | 32-64".
std::string to_string(const Layout& layout);

/// All ranges, rank by rank, as attributes and kernels take them.
struct FlatSpread {
  std::vector<int64_t> ranks;   // of each range
  std::vector<int64_t> bounds;  // begin, end of each range
};
FlatSpread flattened(const Spread& spread);

/// Joins what touches or overlaps.
Spread normalised(Spread spread);
/// `n` units in `n_ranks` runs, as equal as whole grains allow; nullopt when there are fewer grains
/// than ranks.
std::optional<Spread> split_evenly(int64_t n, int64_t grain, int n_ranks);
/// What ranks that compute `units` of an axis need of a tensor whose dimension has `size` elements.
Layout layout_of(const AxisDim& dim, const Spread& units, int64_t size);
/// The units that a tensor which lies as `layout` has; nullopt when its ranges are no whole units.
std::optional<Spread> units_of(const AxisDim& dim, const Layout& layout, int64_t n_units);

}  // namespace lockstep
