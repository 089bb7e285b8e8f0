#include "ops/all_reduce/all_reduce.h"

#include "ops/check.h"

namespace lockstep::ops {
namespace {

constexpr Kernel<AllReduceArgs> kKernels[] = {
    {"cpu.shared", RowInvariant::kYes, never_refuse<AllReduceArgs>, all_reduce_cpu},
    {"ref", RowInvariant::kYes, never_refuse<AllReduceArgs>, all_reduce_ref},
};

std::vector<TensorType> infer(const InferCall& call) {
  constexpr std::string_view op = "all_reduce";
  expect_inputs(op, call, 1, 1);
  expect_activation(op, "x", call.inputs[0]);
  const bool is_float32 =
      expect_choice(op, "to", call.attrs.get_string("to"), {"float32", "bfloat16"}) == 0;
  return {{is_float32 ? DType::kFloat32 : DType::kBFloat16, call.inputs[0].shape}};
}

void run(const OpCall& call) {
  check_call(all_reduce, call);
  const View& x = call.inputs[0];
  const View& out = call.outputs[0];
  const AllReduceArgs args{x.data, out.data, x.elements(), x.dtype, out.dtype, call.context.ranks};
  dispatch<AllReduceArgs>("all_reduce", kKernels, args, x.dtype == DType::kFloat32, call.context);
}

}  // namespace

const OpDef all_reduce{"all_reduce", infer, run,
                       [] { return kernel_infos<AllReduceArgs>(kKernels); }};

}  // namespace lockstep::ops
