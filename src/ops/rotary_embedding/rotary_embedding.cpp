#include "ops/rotary_embedding/rotary_embedding.h"

#include "ops/check.h"

namespace lockstep::ops {
namespace {

constexpr Kernel<RotaryEmbeddingArgs> kKernels[] = {
    {"cpu", RowInvariant::kYes, never_refuse<RotaryEmbeddingArgs>, rotary_embedding_cpu},
    {"ref", RowInvariant::kYes, never_refuse<RotaryEmbeddingArgs>, rotary_embedding_ref},
};

RotaryLayout layout_of(const Attrs& attrs) {
  return expect_choice("rotary_embedding", "layout", attrs.get_string("layout"),
                       {"half", "interleaved"}) == 0
             ? RotaryLayout::kHalf
             : RotaryLayout::kInterleaved;
}

std::vector<TensorType> infer(const InferCall& call) {
  constexpr std::string_view op = "rotary_embedding";
  expect_inputs(op, call, 1, 1);
  const TensorType& positions = call.inputs[0];
  expect_dtype(op, "positions", positions, {DType::kInt32});
  expect_rank(op, "positions", positions, 1, 1);
  (void)call.attrs.get_float("attention_scaling", 1);
  layout_of(call.attrs);
  const auto n_freq = static_cast<int64_t>(call.attrs.get_floats("inv_freq").size());
  const TensorType out{DType::kFloat32, Shape{positions.shape[0], 2 * n_freq}};
  return {out, out};
}

void run(const OpCall& call) {
  check_call(rotary_embedding, call);
  const std::span<const double> inv_freq = call.attrs.get_floats("inv_freq");
  const RotaryEmbeddingArgs args{
      .positions = call.inputs[0].as<int32_t>(),
      .inv_freq = inv_freq.data(),
      .cos = call.outputs[0].as<float>(),
      .sin = call.outputs[1].as<float>(),
      .n_tokens = call.inputs[0].dim(0),
      .n_freq = static_cast<int64_t>(inv_freq.size()),
      .attention_scaling = static_cast<float>(call.attrs.get_float("attention_scaling", 1)),
      .layout = layout_of(call.attrs),
  };
  dispatch<RotaryEmbeddingArgs>("rotary_embedding", kKernels, args, true, call.context);
}

}  // namespace

const OpDef rotary_embedding{"rotary_embedding", infer, run,
                             [] { return kernel_infos<RotaryEmbeddingArgs>(kKernels); }};

}  // namespace lockstep::ops
