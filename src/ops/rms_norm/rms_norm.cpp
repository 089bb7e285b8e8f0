#include "ops/rms_norm/rms_norm.h"

#include "ops/check.h"

namespace lockstep::ops {
namespace {

constexpr Kernel<RmsNormArgs> kKernels[] = {
    {"cpu.simd", RowInvariant::kYes, never_refuse<RmsNormArgs>, rms_norm_cpu},
    {"ref", RowInvariant::kYes, never_refuse<RmsNormArgs>, rms_norm_ref},
};

NormRounding rounding_of(const Attrs& attrs) {
  return expect_choice("rms_norm", "rounding", attrs.get_string("rounding"),
                       {"before_weight", "after_weight"}) == 0
             ? NormRounding::kBeforeWeight
             : NormRounding::kAfterWeight;
}

std::vector<TensorType> infer(const InferCall& call) {
  constexpr std::string_view op = "rms_norm";
  expect_inputs(op, call, 2, 2);
  const TensorType& x = call.inputs[0];
  expect_activation(op, "x", x);
  expect_rank(op, "x", x, 1);
  expect_weight(op, "weight", call.inputs[1]);
  expect_shape(op, "weight", call.inputs[1], Shape{x.shape[-1]});
  (void)call.attrs.get_float("eps");
  (void)call.attrs.get_float("weight_offset", 0);
  rounding_of(call.attrs);
  return {x};
}

void run(const OpCall& call) {
  check_call(rms_norm, call);
  const View& x = call.inputs[0];
  const RmsNormArgs args{
      .x = x.data,
      .weight = call.inputs[1].data,
      .out = call.outputs[0].data,
      .n_rows = x.rows(),
      .width = x.dim(-1),
      .eps = static_cast<float>(call.attrs.get_float("eps")),
      .weight_offset = static_cast<float>(call.attrs.get_float("weight_offset", 0)),
      .rounding = rounding_of(call.attrs),
      .dtype = x.dtype,
      .weight_dtype = call.inputs[1].dtype,
  };
  dispatch<RmsNormArgs>("rms_norm", kKernels, args, x.dtype == DType::kFloat32, call.context);
}

// Every dimension but the one that is normalised.
std::vector<ShardAxis> axes(const ShardCall& call) {
  return shared_axes(call, 1, call.outputs[0].shape.rank() - 1);
}

}  // namespace

const OpDef rms_norm{"rms_norm", infer, run, [] { return kernel_infos<RmsNormArgs>(kKernels); },
                     0,          axes};

}  // namespace lockstep::ops
