#include "ops/elementwise/elementwise.h"

#include "kernels/element.h"
#include "ops/check.h"

namespace lockstep::ops {
namespace {

constexpr Kernel<ElementwiseArgs> kKernels[] = {
    {"cpu.simd", RowInvariant::kYes, never_refuse<ElementwiseArgs>, elementwise_cpu},
    {"ref", RowInvariant::kYes, never_refuse<ElementwiseArgs>, elementwise_ref},
};

struct Fn {
  Elementwise fn;
  bool factor_in_type;
};

Fn fn_of(const Attrs& attrs) {
  const size_t i = expect_choice("elementwise", "fn", attrs.get_string("fn"),
                                 {"add", "sub", "mul", "scale", "scale_in_type"});
  return i == 4 ? Fn{Elementwise::kScale, true} : Fn{static_cast<Elementwise>(i), false};
}

float factor_of(const Attrs& attrs, DType dtype) {
  const auto factor = static_cast<float>(attrs.get_float("factor"));
  return fn_of(attrs).factor_in_type ? round_to(dtype, factor) : factor;
}

/// `shape` with a last dimension of 1.
Shape one_a_row(Shape shape) {
  if (shape.rank() > 0) shape[-1] = Dim(1);
  return shape;
}

std::vector<TensorType> infer(const InferCall& call) {
  constexpr std::string_view op = "elementwise";
  const bool is_scale = fn_of(call.attrs).fn == Elementwise::kScale;
  expect_inputs(op, call, is_scale ? 1 : 2, is_scale ? 1 : 2);
  const TensorType& a = call.inputs[0];
  expect_activation(op, "a", a);
  if (is_scale) {
    (void)call.attrs.get_float("factor");
  } else {
    const TensorType& b = call.inputs[1];
    expect_dtype(op, "b", b, {a.dtype});
    expect_shape(op, "b", b, b.shape == one_a_row(a.shape) ? b.shape : a.shape);
  }
  return {a};
}

void run(const OpCall& call) {
  check_call(elementwise, call);
  const View& a = call.inputs[0];
  const Elementwise fn = fn_of(call.attrs).fn;
  const bool is_scale = fn == Elementwise::kScale;
  const bool is_one_a_row = !is_scale && call.inputs[1].elements() != a.elements();
  const ElementwiseArgs args{
      .a = a.data,
      .b = is_scale ? nullptr : call.inputs[1].data,
      .out = call.outputs[0].data,
      .n = a.elements(),
      .b_span = is_one_a_row ? a.dim(-1) : 1,
      .factor = is_scale ? factor_of(call.attrs, a.dtype) : 1.0f,
      .fn = fn,
      .dtype = a.dtype,
  };
  dispatch<ElementwiseArgs>("elementwise", kKernels, args, a.dtype == DType::kFloat32,
                            call.context);
}

std::vector<ShardAxis> axes(const ShardCall& call) {
  return shared_axes(call, 1, call.outputs[0].shape.rank());
}

}  // namespace

const OpDef elementwise{
    "elementwise", infer, run, [] { return kernel_infos<ElementwiseArgs>(kKernels); }, 0, axes};

}  // namespace lockstep::ops
