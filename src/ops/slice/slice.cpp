#include "ops/slice/slice.h"

#include <fmt/format.h>

#include "ops/check.h"

namespace lockstep::ops {
namespace {

constexpr Kernel<SliceArgs> kKernels[] = {
    {"cpu", RowInvariant::kYes, never_refuse<SliceArgs>, slice_cpu},
    {"ref", RowInvariant::kYes, never_refuse<SliceArgs>, slice_ref},
};

std::vector<TensorType> infer(const InferCall& call) {
  constexpr std::string_view op = "slice";
  expect_inputs(op, call, 1, 1);
  TensorType out = call.inputs[0];
  expect_activation(op, "x", out);
  expect_rank(op, "x", out, 2);
  const int64_t width = expect_static(op, "x", out, -1);
  const int64_t begin = call.attrs.get_int("begin"), end = call.attrs.get_int("end");
  if (begin < 0 || begin >= end || end > width) {
    fail(op, "begin and end", fmt::format("a range within [0, {})", width),
         fmt::format("[{}, {})", begin, end));
  }
  out.shape[-1] = Dim(end - begin);
  return {out};
}

void run(const OpCall& call) {
  check_call(slice, call);
  const View& x = call.inputs[0];
  const auto size = dtype_size(x.dtype);
  const auto begin = static_cast<size_t>(call.attrs.get_int("begin"));
  const auto end = static_cast<size_t>(call.attrs.get_int("end"));
  const SliceArgs args{
      .x = x.data,
      .out = call.outputs[0].data,
      .n_rows = x.rows(),
      .row_bytes = static_cast<size_t>(x.dim(-1)) * size,
      .offset = begin * size,
      .n_bytes = (end - begin) * size,
  };
  dispatch<SliceArgs>("slice", kKernels, args, x.dtype == DType::kFloat32, call.context);
}

// Any dimension; of the last, which is cut, the input has more than is wanted.
std::vector<ShardAxis> axes(const ShardCall& call) {
  const int last = call.outputs[0].shape.rank() - 1;
  std::vector<ShardAxis> axes = shared_axes(call, 1, last);
  axes.push_back({.n_units = call.outputs[0].shape[last].count,
                  .inputs = {split_dim(last, 1, 1, call.attrs.get_int("begin"))},
                  .outputs = {split_dim(last)}});
  return axes;
}

Attrs local_attrs(const Attrs& whole, const LocalShard& shard) {
  if (shard.axis.outputs[0].dim + 1 != shard.output.shape.rank()) return whole;
  Attrs attrs;
  attrs.set("begin", shard.input_begin);
  attrs.set("end", shard.input_begin + local_size(shard.axis.outputs[0], shard.units));
  return attrs;
}

}  // namespace

const OpDef slice{"slice", infer, run,        [] { return kernel_infos<SliceArgs>(kKernels); },
                  0,       axes,  local_attrs};

}  // namespace lockstep::ops
