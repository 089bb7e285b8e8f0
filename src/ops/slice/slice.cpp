#include "ops/slice/slice.h"

#include <fmt/format.h>

#include "ops/check.h"

namespace lockstep::ops {
namespace {

constexpr Kernel<SliceArgs> kKernels[] = {
    {"cpu", RowInvariant::kYes, never_refuse<SliceArgs>, slice_cpu},
    {"ref", RowInvariant::kYes, never_refuse<SliceArgs>, slice_ref},
};

int dim_of(const Attrs& attrs, int rank) {
  return static_cast<int>(attrs.get_int("dim", rank - 1));
}

std::vector<TensorType> infer(const InferCall& call) {
  constexpr std::string_view op = "slice";
  expect_inputs(op, call, 1, 1);
  TensorType out = call.inputs[0];
  expect_rank(op, "x", out, 2);
  const int dim = dim_of(call.attrs, out.shape.rank());
  if (dim < 1 || dim >= out.shape.rank()) {
    fail(op, "dim", fmt::format("1 to {}", out.shape.rank() - 1), fmt::format("{}", dim));
  }
  const int64_t size = expect_static(op, "x", out, dim);
  const std::span<const int64_t> bounds = call.attrs.get_ints("bounds");
  int64_t n = 0;
  for (size_t i = 0; i + 1 < bounds.size(); i += 2) {
    if (bounds[i] < 0 || bounds[i] >= bounds[i + 1] || bounds[i + 1] > size) {
      fail(op, "bounds", fmt::format("ranges within [0, {})", size),
           fmt::format("[{}, {})", bounds[i], bounds[i + 1]));
    }
    n += bounds[i + 1] - bounds[i];
  }
  if (n == 0 || bounds.size() % 2 != 0) fail(op, "bounds", "pairs", "none, or an odd number");
  out.shape[dim] = n;
  return {out};
}

void run(const OpCall& call) {
  check_call(slice, call);
  const View& x = call.inputs[0];
  const int dim = dim_of(call.attrs, x.rank);
  SliceArgs args{
      .x = x.data,
      .out = call.outputs[0].data,
      .bounds = call.attrs.get_ints("bounds"),
      .outer = 1,
      .size = x.dim(dim),
      .inner_bytes = dtype_size(x.dtype),
  };
  for (int d = 0; d < dim; ++d) args.outer *= x.dim(d);
  for (int d = dim + 1; d < x.rank; ++d) args.inner_bytes *= static_cast<size_t>(x.dim(d));
  dispatch<SliceArgs>("slice", kKernels, args, x.dtype == DType::kFloat32, call.context);
}

// Any dimension; of the last, which is cut, the input has more than is wanted.
std::vector<ShardAxis> axes(const ShardCall& call) {
  const int last = call.outputs[0].shape.rank() - 1;
  const std::span<const int64_t> bounds = call.attrs.get_ints("bounds");
  if (dim_of(call.attrs, last + 1) != last || bounds.size() != 2) return {};
  std::vector<ShardAxis> axes = shared_axes(call, 1, last);
  axes.push_back({.n_units = call.outputs[0].shape[last].count,
                  .inputs = {split_dim(last, 1, 1, bounds[0])},
                  .outputs = {split_dim(last)}});
  return axes;
}

Attrs local_attrs(const Attrs& whole, const LocalShard& shard) {
  if (shard.axis.outputs[0].dim + 1 != shard.output.shape.rank()) return whole;
  const int64_t size = local_size(shard.axis.outputs[0], shard.units);
  Attrs attrs;
  attrs.set("bounds", std::vector<int64_t>{shard.input_begin, shard.input_begin + size});
  return attrs;
}

}  // namespace

const OpDef slice{"slice", infer, run,        [] { return kernel_infos<SliceArgs>(kKernels); },
                  0,       axes,  local_attrs};

}  // namespace lockstep::ops
