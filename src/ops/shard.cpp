#include "ops/shard.h"

#include <algorithm>
#include <iterator>

namespace lockstep {

int64_t local_size(const AxisDim& dim, std::span<const Range> units) {
  int64_t size = 0;
  for (const Range& range : units) {
    size += (range.end * dim.num + dim.den - 1) / dim.den - range.begin * dim.num / dim.den;
  }
  return size;
}

std::vector<ShardAxis> shared_axes(const ShardCall& call, int first, int last) {
  std::vector<ShardAxis> axes;
  const Shape& shape = call.outputs[0].shape;
  for (int d = first; d < last; ++d) {
    if (!shape[d].is_static()) continue;
    const auto part_of = [&](const TensorType& type) {
      const bool has_it = type.shape.rank() == shape.rank() && type.shape[d] == shape[d];
      return has_it ? split_dim(d) : AxisDim();
    };
    ShardAxis axis;
    axis.n_units = shape[d].count;
    std::ranges::transform(call.inputs, std::back_inserter(axis.inputs), part_of);
    std::ranges::transform(call.outputs, std::back_inserter(axis.outputs), part_of);
    axes.push_back(std::move(axis));
  }
  return axes;
}

}  // namespace lockstep
