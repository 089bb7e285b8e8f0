#include "ops/cast/cast.h"

#include "ops/check.h"

namespace lockstep::ops {
namespace {

constexpr Kernel<CastArgs> kKernels[] = {
    {"cpu.simd", RowInvariant::kYes, never_refuse<CastArgs>, cast_cpu},
    {"ref", RowInvariant::kYes, never_refuse<CastArgs>, cast_ref},
};

std::vector<TensorType> infer(const InferCall& call) {
  constexpr std::string_view op = "cast";
  expect_inputs(op, call, 1, 1);
  expect_activation(op, "x", call.inputs[0]);
  const bool is_float32 =
      expect_choice(op, "to", call.attrs.get_string("to"), {"float32", "activation"}) == 0;
  return {{is_float32 ? DType::kFloat32 : call.activation_dtype, call.inputs[0].shape}};
}

void run(const OpCall& call) {
  check_call(cast, call);
  const View& x = call.inputs[0];
  const View& out = call.outputs[0];
  const CastArgs args{x.data, out.data, x.elements(), x.dtype, out.dtype};
  dispatch<CastArgs>("cast", kKernels, args, x.dtype == DType::kFloat32, call.context);
}

std::vector<ShardAxis> axes(const ShardCall& call) {
  return shared_axes(call, 1, call.outputs[0].shape.rank());
}

}  // namespace

const OpDef cast{"cast", infer, run, [] { return kernel_infos<CastArgs>(kKernels); }, 0, axes};

}  // namespace lockstep::ops
