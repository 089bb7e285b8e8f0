#include "ops/selective_scan/selective_scan.h"

#include "ops/check.h"

namespace lockstep::ops {
namespace {

constexpr Kernel<SelectiveScanArgs> kKernels[] = {
    {"cpu.simd", RowInvariant::kYes, never_refuse<SelectiveScanArgs>, selective_scan_cpu},
    {"ref", RowInvariant::kYes, never_refuse<SelectiveScanArgs>, selective_scan_ref},
};

enum Input { kX, kB, kC, kDt, kALog, kD, kRowOffsets, kSlots, kState };

std::vector<TensorType> infer(const InferCall& call) {
  constexpr std::string_view op = "selective_scan";
  expect_inputs(op, call, 9, 9);
  const TensorType& x = call.inputs[kX];
  const TensorType& b = call.inputs[kB];
  expect_activation(op, "x", x);
  for (const Input i : {kX, kB, kC, kDt}) {
    constexpr std::string_view kNames[] = {"x", "B", "C", "dt"};
    expect_rank(op, kNames[i], call.inputs[i], 2, 2);
    expect_dtype(op, kNames[i], call.inputs[i], {x.dtype});
  }
  const Dim rows = x.shape[0], channels = x.shape[1], state_size = b.shape[1];
  expect_static(op, "x", x, 1);
  expect_static(op, "B", b, 1);
  expect_shape(op, "B", b, Shape{rows, state_size});
  expect_shape(op, "C", call.inputs[kC], b.shape);
  expect_shape(op, "dt", call.inputs[kDt], x.shape);
  expect_weight(op, "A_log", call.inputs[kALog]);
  expect_shape(op, "A_log", call.inputs[kALog], Shape{channels, state_size});
  expect_weight(op, "D", call.inputs[kD]);
  expect_shape(op, "D", call.inputs[kD], Shape{channels});
  const TensorType& state = call.inputs[kState];
  expect_state_inputs(op, call.inputs[kRowOffsets], call.inputs[kSlots], state);
  expect_dtype(op, "state", state, {DType::kFloat32});
  expect_shape(op, "state", state, Shape{state.shape[0], channels, state_size});
  return {{DType::kFloat32, x.shape}, {DType::kFloat32, x.shape}};
}

void run(const OpCall& call) {
  check_call(selective_scan, call);
  const View& x = call.inputs[kX];
  const View& slots = call.inputs[kSlots];
  check_sequences("selective_scan", call.inputs[kRowOffsets], slots, x.dim(0),
                  call.inputs[kState].dim(0));
  const SelectiveScanArgs args{
      .x = x.data,
      .b = call.inputs[kB].data,
      .c = call.inputs[kC].data,
      .dt = call.inputs[kDt].data,
      .a_log = call.inputs[kALog].data,
      .d = call.inputs[kD].data,
      .row_offsets = call.inputs[kRowOffsets].as<int32_t>(),
      .slots = slots.as<int32_t>(),
      .state = call.inputs[kState].as<float>(),
      .y = call.outputs[0].as<float>(),
      .delta = call.outputs[1].as<float>(),
      .n_tokens = x.dim(0),
      .n_sequences = slots.dim(0),
      .channels = x.dim(1),
      .state_size = call.inputs[kB].dim(1),
      .dtype = x.dtype,
      .a_log_dtype = call.inputs[kALog].dtype,
      .d_dtype = call.inputs[kD].dtype,
  };
  dispatch<SelectiveScanArgs>("selective_scan", kKernels, args, x.dtype == DType::kFloat32,
                              call.context);
}

// By channels; every rank reads all of B and C.
std::vector<ShardAxis> axes(const ShardCall& call) {
  ShardAxis axis{.n_units = call.inputs[kX].shape[1].count,
                 .inputs = std::vector<AxisDim>(call.inputs.size()),
                 .outputs = {split_dim(1), split_dim(1)},
                 .is_anchor = true};
  for (const Input i : {kX, kDt, kState}) axis.inputs[i] = split_dim(1);
  for (const Input i : {kALog, kD}) axis.inputs[i] = split_dim(0);
  return {axis};
}

}  // namespace

const OpDef selective_scan{
    "selective_scan", infer, run, [] { return kernel_infos<SelectiveScanArgs>(kKernels); },
    1u << kState,     axes};

}  // namespace lockstep::ops
