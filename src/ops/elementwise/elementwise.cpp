#include "ops/elementwise/elementwise.h"

#include "ops/check.h"

namespace lockstep::ops {
namespace {

constexpr Kernel<ElementwiseArgs> kKernels[] = {
    {"cpu.simd", RowInvariant::kYes, never_refuse<ElementwiseArgs>, elementwise_cpu},
    {"ref", RowInvariant::kYes, never_refuse<ElementwiseArgs>, elementwise_ref},
};

Elementwise fn_of(const Attrs& attrs) {
  return static_cast<Elementwise>(
      expect_choice("elementwise", "fn", attrs.get_string("fn"), {"add", "sub", "mul", "scale"}));
}

std::vector<TensorType> infer(const InferCall& call) {
  constexpr std::string_view op = "elementwise";
  const bool is_scale = fn_of(call.attrs) == Elementwise::kScale;
  expect_inputs(op, call, is_scale ? 1 : 2, is_scale ? 1 : 2);
  const TensorType& a = call.inputs[0];
  expect_activation(op, "a", a);
  if (is_scale) {
    (void)call.attrs.get_float("factor");
  } else {
    expect_dtype(op, "b", call.inputs[1], {a.dtype});
    expect_shape(op, "b", call.inputs[1], a.shape);
  }
  return {a};
}

void run(const OpCall& call) {
  check_call(elementwise, call);
  const View& a = call.inputs[0];
  const Elementwise fn = fn_of(call.attrs);
  const bool is_scale = fn == Elementwise::kScale;
  const ElementwiseArgs args{
      .a = a.data,
      .b = is_scale ? nullptr : call.inputs[1].data,
      .out = call.outputs[0].data,
      .n = a.elements(),
      .factor = is_scale ? static_cast<float>(call.attrs.get_float("factor")) : 1.0f,
      .fn = fn,
      .dtype = a.dtype,
  };
  dispatch<ElementwiseArgs>("elementwise", kKernels, args, a.dtype == DType::kFloat32,
                            call.context);
}

}  // namespace

const OpDef elementwise{"elementwise", infer, run,
                        [] { return kernel_infos<ElementwiseArgs>(kKernels); }};

}  // namespace lockstep::ops
