// How an op divides among ranks: which dimensions of its inputs and outputs go together. An op
// that says nothing runs whole on every rank.
//
//   linear, axis "out"   x [.., K] whole     weight [N, K] dim 0, bias dim 0   out [.., N] dim 1
//   linear, axis "in"    x [.., K] dim 1     weight [N, K] dim 1, bias once    out: summed
//   attention, heads     q [T, H, D] dim 1   k, v [T, KV, D] dim 1, KV / H of a unit each
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ops/attrs.h"
#include "tensor/shape.h"

namespace lockstep {

/// Elements [begin, end) of a dimension.
struct Range {
  int64_t begin = 0, end = 0;
  int64_t size() const { return end - begin; }
  friend bool operator==(const Range&, const Range&) = default;
};

/// How a tensor takes part when an op is divided along an axis.
struct AxisDim {
  enum class Kind : uint8_t {
    kWhole,  ///< every rank has all of it
    kSplit,  ///< every rank has its units of `dim`
    kOnce,   ///< rank 0 alone takes it: an addend of a sum
  };
  Kind kind = Kind::kWhole;
  int dim = 0;
  /// Units [a, b) are elements [offset + a * num / den, offset + b * num / den) of `dim`, outward
  /// to whole elements: several units may share one.
  int64_t num = 1, den = 1, offset = 0;
};

inline AxisDim split_dim(int dim, int64_t num = 1, int64_t den = 1, int64_t offset = 0) {
  return {AxisDim::Kind::kSplit, dim, num, den, offset};
}
inline AxisDim only_once() { return {AxisDim::Kind::kOnce, 0, 1, 1, 0}; }

/// One way to divide an op: each rank computes some of `n_units`.
struct ShardAxis {
  int64_t n_units = 0;
  std::vector<AxisDim> inputs, outputs;  // parallel to the op's
  /// The ranks' outputs are to be added up; `outputs` are whole.
  bool is_sum = false;
  /// Heads or channels that run through a sequence: what a division of a model begins with.
  bool is_anchor = false;
};

struct ShardCall {
  std::span<const TensorType> inputs, outputs;
  const Attrs& attrs;
};

/// What one rank computes of an op.
struct LocalShard {
  const ShardAxis& axis;
  std::span<const Range> units;  // of the axis
  const TensorType& output;      // output 0 of the whole call
  /// How many elements of input 0's split dimension the rank holds before AxisDim::offset.
  int64_t input_begin = 0;
};

/// Elements of the dimension that `dim` says, of `units`.
int64_t local_size(const AxisDim& dim, std::span<const Range> units);

/// An axis for each static dimension in [first, last) of output 0, with every input and output of
/// its rank that has the same dimension; the others are whole.
std::vector<ShardAxis> shared_axes(const ShardCall& call, int first, int last);

}  // namespace lockstep
