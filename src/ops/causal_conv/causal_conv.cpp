#include "ops/causal_conv/causal_conv.h"

#include "ops/check.h"

namespace lockstep::ops {
namespace {

constexpr Kernel<CausalConvArgs> kKernels[] = {
    {"cpu.simd", RowInvariant::kYes, never_refuse<CausalConvArgs>, causal_conv_cpu},
    {"ref", RowInvariant::kYes, never_refuse<CausalConvArgs>, causal_conv_ref},
};

enum Input { kX, kWeight, kRowOffsets, kSlots, kState, kBias };

bool is_silu(const Attrs& attrs) {
  return expect_choice("causal_conv", "fn", attrs.get_string("fn", "none"), {"none", "silu"}) == 1;
}

std::vector<TensorType> infer(const InferCall& call) {
  constexpr std::string_view op = "causal_conv";
  expect_inputs(op, call, 5, 6);
  const TensorType& x = call.inputs[kX];
  expect_activation(op, "x", x);
  expect_rank(op, "x", x, 2, 2);
  const Dim channels = x.shape[1];
  expect_static(op, "x", x, 1);
  const TensorType& weight = call.inputs[kWeight];
  expect_weight(op, "weight", weight);
  expect_rank(op, "weight", weight, 2, 3);
  const Dim kernel = weight.shape[-1];
  expect_shape(
      op, "weight", weight,
      weight.shape.rank() == 2 ? Shape{channels, kernel} : Shape{channels, Dim(1), kernel});
  const TensorType& state = call.inputs[kState];
  expect_state_inputs(op, call.inputs[kRowOffsets], call.inputs[kSlots], state);
  expect_dtype(op, "state", state, {x.dtype});
  expect_rank(op, "state", state, 3, 3);
  const Dim window(expect_static(op, "weight", weight, -1) - (state.shape[2] == kernel ? 0 : 1));
  expect_shape(op, "state", state, Shape{state.shape[0], channels, window});
  if (call.inputs.size() > kBias) {
    expect_weight(op, "bias", call.inputs[kBias]);
    expect_shape(op, "bias", call.inputs[kBias], Shape{channels});
  }
  is_silu(call.attrs);
  return {x};
}

void run(const OpCall& call) {
  check_call(causal_conv, call);
  const View& x = call.inputs[kX];
  const View& weight = call.inputs[kWeight];
  const View& state = call.inputs[kState];
  const View* bias = call.inputs.size() > kBias ? &call.inputs[kBias] : nullptr;
  check_sequences("causal_conv", call.inputs[kRowOffsets], call.inputs[kSlots], x.dim(0),
                  state.dim(0));
  const CausalConvArgs args{
      .x = x.data,
      .weight = weight.data,
      .bias = bias == nullptr ? nullptr : bias->data,
      .row_offsets = call.inputs[kRowOffsets].as<int32_t>(),
      .slots = call.inputs[kSlots].as<int32_t>(),
      .state = state.data,
      .out = call.outputs[0].data,
      .n_sequences = call.inputs[kSlots].dim(0),
      .channels = x.dim(1),
      .kernel = weight.dim(-1),
      .window = state.dim(2),
      .silu = is_silu(call.attrs),
      .dtype = x.dtype,
      .weight_dtype = weight.dtype,
      .bias_dtype = bias == nullptr ? DType::kFloat32 : bias->dtype,
  };
  dispatch<CausalConvArgs>("causal_conv", kKernels, args, x.dtype == DType::kFloat32, call.context);
}

std::vector<ShardAxis> axes(const ShardCall& call) {
  ShardAxis axis{.n_units = call.inputs[kX].shape[1].count,
                 .inputs = std::vector<AxisDim>(call.inputs.size()),
                 .outputs = {split_dim(1)}};
  axis.inputs[kX] = axis.inputs[kState] = split_dim(1);
  axis.inputs[kWeight] = split_dim(0);
  if (call.inputs.size() > kBias) axis.inputs[kBias] = split_dim(0);
  return {axis};
}

}  // namespace

const OpDef causal_conv{"causal_conv", infer,
                        run,           [] { return kernel_infos<CausalConvArgs>(kKernels); },
                        1u << kState,  axes};

}  // namespace lockstep::ops
