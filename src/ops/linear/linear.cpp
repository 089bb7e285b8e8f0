#include "ops/linear/linear.h"

#include "ops/check.h"

namespace lockstep::ops {
namespace {

constexpr Kernel<LinearArgs> kKernels[] = {
    {"onednn", RowInvariant::kNo, linear_onednn_refuse, linear_onednn},
    {"cpu.dot", RowInvariant::kYes, never_refuse<LinearArgs>, linear_cpu},
    {"ref", RowInvariant::kYes, never_refuse<LinearArgs>, linear_ref},
};

std::vector<TensorType> infer(const InferCall& call) {
  constexpr std::string_view op = "linear";
  expect_inputs(op, call, 2, 3);
  const TensorType& x = call.inputs[0];
  const TensorType& weight = call.inputs[1];
  expect_activation(op, "x", x);
  expect_rank(op, "x", x, 1);
  expect_weight(op, "weight", weight);
  expect_rank(op, "weight", weight, 2, 2);
  expect_shape(op, "weight", weight, Shape{weight.shape[0], x.shape[-1]});
  if (call.inputs.size() == 3) {
    expect_weight(op, "bias", call.inputs[2]);
    expect_shape(op, "bias", call.inputs[2], Shape{weight.shape[0]});
  }
  TensorType out = x;
  out.shape[-1] = weight.shape[0];
  if (call.attrs.get_int("partial", 0) != 0) out.dtype = DType::kFloat32;
  return {out};
}

void run(const OpCall& call) {
  check_call(linear, call);
  const View& x = call.inputs[0];
  const View& weight = call.inputs[1];
  const bool has_bias = call.inputs.size() == 3;
  const LinearArgs args{
      .x = x.data,
      .weight = weight.data,
      .bias = has_bias ? call.inputs[2].data : nullptr,
      .out = call.outputs[0].data,
      .n_rows = x.rows(),
      .n = weight.dim(0),
      .k = weight.dim(1),
      .dtype = x.dtype,
      .weight_dtype = weight.dtype,
      .bias_dtype = has_bias ? call.inputs[2].dtype : DType::kFloat32,
      .out_dtype = call.outputs[0].dtype,
  };
  dispatch<LinearArgs>("linear", kKernels, args, x.dtype == DType::kFloat32, call.context);
}

std::vector<ShardAxis> axes(const ShardCall& call) {
  const Shape& weight = call.inputs[1].shape;
  const int last = call.outputs[0].shape.rank() - 1;
  ShardAxis out{
      .n_units = weight[0].count, .inputs = {{}, split_dim(0)}, .outputs = {split_dim(last)}};
  ShardAxis in{.n_units = weight[1].count,
               .inputs = {split_dim(last), split_dim(1)},
               .outputs = {{}},
               .is_sum = true};
  if (call.inputs.size() == 3) {
    out.inputs.push_back(split_dim(0));
    in.inputs.push_back(only_once());
  }
  return {out, in};
}

Attrs local_attrs(const Attrs& whole, const LocalShard& shard) {
  Attrs attrs = whole;
  if (shard.axis.is_sum) attrs.set("partial", int64_t{1});
  return attrs;
}

}  // namespace

const OpDef linear{"linear", infer, run,        [] { return kernel_infos<LinearArgs>(kKernels); },
                   0,        axes,  local_attrs};

}  // namespace lockstep::ops
