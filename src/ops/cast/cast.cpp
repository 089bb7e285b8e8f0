#include "ops/cast/cast.h"

#include "ops/check.h"

namespace lockstep::ops {
namespace {

constexpr Kernel<CastArgs> kKernels[] = {
    {"cpu.simd", RowInvariant::kYes, never_refuse<CastArgs>, cast_cpu},
    {"ref", RowInvariant::kYes, never_refuse<CastArgs>, cast_ref},
};

std::vector<TensorType> infer(const InferCall& call) {
  expect_inputs("cast", call, 1, 1);
  expect_activation("cast", "x", call.inputs[0]);
  expect_choice("cast", "dtype", call.attrs.get_string("dtype"), {"float32"});
  return {{DType::kFloat32, call.inputs[0].shape}};
}

void run(const OpCall& call) {
  check_call(cast, call);
  const View& x = call.inputs[0];
  const CastArgs args{x.data, call.outputs[0].as<float>(), x.elements(), x.dtype};
  dispatch<CastArgs>("cast", kKernels, args, x.dtype == DType::kFloat32, call.context);
}

}  // namespace

const OpDef cast{"cast", infer, run, [] { return kernel_infos<CastArgs>(kKernels); }};

}  // namespace lockstep::ops
