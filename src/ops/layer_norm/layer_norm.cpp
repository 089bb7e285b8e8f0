#include "ops/layer_norm/layer_norm.h"

#include "ops/check.h"

namespace lockstep::ops {
namespace {

constexpr Kernel<LayerNormArgs> kKernels[] = {
    {"cpu.simd", RowInvariant::kYes, never_refuse<LayerNormArgs>, layer_norm_cpu},
    {"ref", RowInvariant::kYes, never_refuse<LayerNormArgs>, layer_norm_ref},
};

std::vector<TensorType> infer(const InferCall& call) {
  constexpr std::string_view op = "layer_norm";
  expect_inputs(op, call, 2, 3);
  const TensorType& x = call.inputs[0];
  expect_activation(op, "x", x);
  expect_rank(op, "x", x, 1);
  for (size_t i = 1; i < call.inputs.size(); ++i) {
    constexpr std::string_view kNames[] = {"weight", "bias"};
    expect_weight(op, kNames[i - 1], call.inputs[i]);
    const bool is_by_head =
        i == 1 && call.inputs.size() == 2 && x.shape.rank() > 1 && call.inputs[i].shape.rank() == 2;
    expect_shape(op, kNames[i - 1], call.inputs[i],
                 is_by_head ? Shape{x.shape[-2], x.shape[-1]} : Shape{x.shape[-1]});
  }
  (void)call.attrs.get_float("eps");
  return {x};
}

void run(const OpCall& call) {
  check_call(layer_norm, call);
  const View& x = call.inputs[0];
  const View& weight = call.inputs[1];
  const bool has_bias = call.inputs.size() > 2;
  const LayerNormArgs args{
      .x = x.data,
      .weight = weight.data,
      .bias = has_bias ? call.inputs[2].data : nullptr,
      .out = call.outputs[0].data,
      .n_rows = x.rows(),
      .width = x.dim(-1),
      .n_weights = weight.rows(),
      .eps = static_cast<float>(call.attrs.get_float("eps")),
      .dtype = x.dtype,
      .weight_dtype = weight.dtype,
      .bias_dtype = has_bias ? call.inputs[2].dtype : weight.dtype,
  };
  dispatch<LayerNormArgs>("layer_norm", kKernels, args, x.dtype == DType::kFloat32, call.context);
}

// Every dimension but the one that is normalised.
std::vector<ShardAxis> axes(const ShardCall& call) {
  const int last = call.outputs[0].shape.rank() - 1;
  std::vector<ShardAxis> axes = shared_axes(call, 1, last);
  for (ShardAxis& axis : axes) {
    const bool is_by_head = call.inputs[1].shape.rank() == 2;
    if (is_by_head && axis.outputs[0].dim == last - 1) axis.inputs[1] = split_dim(0);
  }
  return axes;
}

}  // namespace

const OpDef layer_norm{
    "layer_norm", infer, run, [] { return kernel_infos<LayerNormArgs>(kKernels); }, 0, axes};

}  // namespace lockstep::ops
