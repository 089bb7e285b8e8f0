#include "ops/concat/concat.h"

#include <fmt/format.h>

#include <algorithm>

#include "ops/check.h"

namespace lockstep::ops {
namespace {

constexpr Kernel<ConcatArgs> kKernels[] = {
    {"cpu", RowInvariant::kYes, never_refuse<ConcatArgs>, concat_cpu},
    {"ref", RowInvariant::kYes, never_refuse<ConcatArgs>, concat_ref},
};

std::vector<TensorType> infer(const InferCall& call) {
  constexpr std::string_view op = "concat";
  expect_inputs(op, call, 2, 2);
  const TensorType& a = call.inputs[0];
  const TensorType& b = call.inputs[1];
  expect_activation(op, "a", a);
  expect_rank(op, "a", a, 3, 3);
  expect_dtype(op, "b", b, {a.dtype});
  expect_rank(op, "b", b, 3, 3);
  expect_shape(op, "b", b, Shape{a.shape[0], b.shape[1], b.shape[2]});
  const int64_t a_heads = expect_static(op, "a", a, 1), b_heads = expect_static(op, "b", b, 1);
  if (a_heads != b_heads && a_heads != 1 && b_heads != 1) {
    fail(op, "b", fmt::format("{} heads or 1", a_heads), to_string(b));
  }
  const int64_t width = expect_static(op, "a", a, 2) + expect_static(op, "b", b, 2);
  return {{a.dtype, Shape{a.shape[0], std::max(a_heads, b_heads), width}}};
}

void run(const OpCall& call) {
  check_call(concat, call);
  const View& a = call.inputs[0];
  const View& b = call.inputs[1];
  const ConcatArgs args{
      .a = a.data,
      .b = b.data,
      .out = call.outputs[0].data,
      .n_tokens = a.dim(0),
      .a_heads = a.dim(1),
      .b_heads = b.dim(1),
      .n_heads = call.outputs[0].dim(1),
      .a_bytes = static_cast<size_t>(a.dim(2)) * dtype_size(a.dtype),
      .b_bytes = static_cast<size_t>(b.dim(2)) * dtype_size(b.dtype),
  };
  dispatch<ConcatArgs>("concat", kKernels, args, a.dtype == DType::kFloat32, call.context);
}

std::vector<ShardAxis> axes(const ShardCall& call) { return shared_axes(call, 1, 2); }

}  // namespace

const OpDef concat{"concat", infer, run, [] { return kernel_infos<ConcatArgs>(kKernels); },
                   0,        axes};

}  // namespace lockstep::ops
