#include "ops/gather_rows/gather_rows.h"

#include <fmt/format.h>

#include "ops/check.h"

namespace lockstep::ops {
namespace {

constexpr Kernel<GatherRowsArgs> kKernels[] = {
    {"cpu", RowInvariant::kYes, never_refuse<GatherRowsArgs>, gather_rows_cpu},
    {"ref", RowInvariant::kYes, never_refuse<GatherRowsArgs>, gather_rows_ref},
};

std::vector<TensorType> infer(const InferCall& call) {
  constexpr std::string_view op = "gather_rows";
  expect_inputs(op, call, 2, 2);
  const TensorType& rows = call.inputs[1];
  expect_activation(op, "x", call.inputs[0]);
  expect_rank(op, "x", call.inputs[0], 1);
  expect_dtype(op, "rows", rows, {DType::kInt32});
  expect_rank(op, "rows", rows, 1, 1);
  TensorType out = call.inputs[0];
  out.shape[0] = rows.shape[0];
  return {out};
}

void run(const OpCall& call) {
  check_call(gather_rows, call);
  const View& x = call.inputs[0];
  const View& rows = call.inputs[1];
  const int64_t n_rows = x.dim(0);
  const GatherRowsArgs args{
      .x = x.data,
      .rows = rows.as<int32_t>(),
      .out = call.outputs[0].data,
      .n_rows = n_rows,
      .n_out = rows.dim(0),
      .row_bytes = n_rows == 0 ? 0 : x.bytes() / static_cast<size_t>(n_rows),
  };
  for (int64_t r = 0; r < args.n_out; ++r) {
    if (args.rows[r] >= 0 && args.rows[r] < n_rows) continue;
    fail("gather_rows", fmt::format("rows, entry {}", r), fmt::format("a row in [0, {})", n_rows),
         fmt::format("{}", args.rows[r]));
  }
  dispatch<GatherRowsArgs>("gather_rows", kKernels, args, x.dtype == DType::kFloat32, call.context);
}

std::vector<ShardAxis> axes(const ShardCall& call) {
  return shared_axes(call, 1, call.outputs[0].shape.rank());
}

}  // namespace

const OpDef gather_rows{
    "gather_rows", infer, run, [] { return kernel_infos<GatherRowsArgs>(kKernels); }, 0, axes};

}  // namespace lockstep::ops
