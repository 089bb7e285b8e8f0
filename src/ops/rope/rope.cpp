#include "ops/rope/rope.h"

#include <fmt/format.h>

#include "ops/check.h"

namespace lockstep::ops {
namespace {

constexpr Kernel<RopeArgs> kKernels[] = {
    {"cpu.simd", RowInvariant::kYes, never_refuse<RopeArgs>, rope_cpu},
    {"ref", RowInvariant::kYes, never_refuse<RopeArgs>, rope_ref},
};

RopeStyle style_of(const Attrs& attrs) {
  constexpr RopeStyle kStyles[] = {RopeStyle::kHalf, RopeStyle::kInterleaved,
                                   RopeStyle::kInterleavedByHalf, RopeStyle::kInterleavedToHalf};
  return kStyles[expect_choice(
      "rope", "style", attrs.get_string("style"),
      {"half", "interleaved", "interleaved_by_half", "interleaved_to_half"})];
}

std::vector<TensorType> infer(const InferCall& call) {
  constexpr std::string_view op = "rope";
  expect_inputs(op, call, 3, 3);
  const TensorType& x = call.inputs[0];
  const TensorType& cos = call.inputs[1];
  expect_activation(op, "x", x);
  expect_rank(op, "x", x, 3, 3);
  expect_dtype(op, "cos", cos, {DType::kFloat32});
  expect_rank(op, "cos", cos, 2, 2);
  expect_shape(op, "cos", cos, Shape{x.shape[0], cos.shape[1]});
  expect_dtype(op, "sin", call.inputs[2], {DType::kFloat32});
  expect_shape(op, "sin", call.inputs[2], cos.shape);
  const int64_t head_dim = expect_static(op, "x", x, 2);
  const int64_t n_rotated = expect_static(op, "cos", cos, 1);
  if (n_rotated % 2 != 0 || n_rotated > head_dim) {
    fail(op, "cos", fmt::format("an even number of columns up to {}", head_dim), to_string(cos));
  }
  style_of(call.attrs);
  return {x};
}

void run(const OpCall& call) {
  check_call(rope, call);
  const View& x = call.inputs[0];
  const RopeArgs args{
      .x = x.data,
      .cos = call.inputs[1].as<float>(),
      .sin = call.inputs[2].as<float>(),
      .out = call.outputs[0].data,
      .n_tokens = x.dim(0),
      .n_heads = x.dim(1),
      .head_dim = x.dim(2),
      .n_rotated = call.inputs[1].dim(1),
      .style = style_of(call.attrs),
      .dtype = x.dtype,
  };
  dispatch<RopeArgs>("rope", kKernels, args, x.dtype == DType::kFloat32, call.context);
}

std::vector<ShardAxis> axes(const ShardCall& call) { return shared_axes(call, 1, 2); }

}  // namespace

const OpDef rope{"rope", infer, run, [] { return kernel_infos<RopeArgs>(kKernels); }, 0, axes};

}  // namespace lockstep::ops
