#include "ops/reshape/reshape.h"

#include <fmt/format.h>

#include <algorithm>

#include "ops/check.h"

namespace lockstep::ops {
namespace {

std::vector<TensorType> infer(const InferCall& call) {
  constexpr std::string_view op = "reshape";
  expect_inputs(op, call, 1, 1);
  const TensorType& x = call.inputs[0];
  expect_rank(op, "x", x, 1);
  std::vector<int64_t> row;
  for (int i = 1; i < x.shape.rank(); ++i) row.push_back(expect_static(op, "x", x, i));
  const std::span<const int64_t> tail = call.attrs.get_ints("tail");
  TensorType out{x.dtype, Shape{x.shape[0]}};
  for (const int64_t dim : tail) out.shape.push_back(dim);
  if (checked_product(tail) < 0 || checked_product(tail) != checked_product(row)) {
    fail(op, "tail", fmt::format("{} elements a row", checked_product(row)), to_string(out));
  }
  return {out};
}

// Dimensions that are split or merged: the outer one of a pair divides, in units of the inner.
std::vector<ShardAxis> axes(const ShardCall& call) {
  std::vector<ShardAxis> axes;
  const Shape &x = call.inputs[0].shape, &out = call.outputs[0].shape;
  int64_t before_x = 1, before_out = 1;
  for (int i = 1, j = 1; i < x.rank() && j < out.rank();) {
    const int64_t n = x[i].count, m = out[j].count;
    if (before_x == before_out && (n % m == 0 || m % n == 0)) {
      const int64_t n_units = std::min(n, m);
      axes.push_back({.n_units = n_units,
                      .inputs = {split_dim(i, n / n_units)},
                      .outputs = {split_dim(j, m / n_units)}});
    }
    const int64_t after_x = before_x * n, after_out = before_out * m;
    if (after_x <= after_out) before_x = after_x, ++i;
    if (after_out <= after_x) before_out = after_out, ++j;
  }
  return axes;
}

Attrs local_attrs(const Attrs& whole, const LocalShard& shard) {
  const std::span<const int64_t> tail = whole.get_ints("tail");
  std::vector<int64_t> local(tail.begin(), tail.end());
  const AxisDim& dim = shard.axis.outputs[0];
  local[static_cast<size_t>(dim.dim - 1)] = local_size(dim, shard.units);
  Attrs attrs;
  attrs.set("tail", std::move(local));
  return attrs;
}

}  // namespace

const OpDef reshape{"reshape", infer, nullptr,    [] { return std::vector<KernelInfo>{}; },
                    0,         axes,  local_attrs};

}  // namespace lockstep::ops
