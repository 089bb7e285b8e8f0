#include "ops/activation/activation.h"

#include "ops/check.h"

namespace lockstep::ops {
namespace {

constexpr Kernel<ActivationArgs> kKernels[] = {
    {"cpu.simd", RowInvariant::kYes, never_refuse<ActivationArgs>, activation_cpu},
    {"ref", RowInvariant::kYes, never_refuse<ActivationArgs>, activation_ref},
};

std::vector<TensorType> infer(const InferCall& call) {
  expect_inputs("activation", call, 1, 1);
  expect_activation("activation", "x", call.inputs[0]);
  activation_of("activation", call.attrs);
  return {call.inputs[0]};
}

void run(const OpCall& call) {
  check_call(activation, call);
  const View& x = call.inputs[0];
  const ActivationArgs args{x.data, call.outputs[0].data, x.elements(),
                            activation_of("activation", call.attrs), x.dtype};
  dispatch<ActivationArgs>("activation", kKernels, args, x.dtype == DType::kFloat32, call.context);
}

std::vector<ShardAxis> axes(const ShardCall& call) {
  return shared_axes(call, 1, call.outputs[0].shape.rank());
}

}  // namespace

Activation activation_of(std::string_view op, const Attrs& attrs) {
  constexpr Activation kFns[] = {
      Activation::kSilu,     Activation::kGelu,      Activation::kGeluTanh, Activation::kGeluTanh,
      Activation::kGeluTanh, Activation::kQuickGelu, Activation::kRelu,     Activation::kRelu2,
      Activation::kSigmoid,  Activation::kTanh};
  return kFns[expect_choice(op, "fn", attrs.get_string("fn"),
                            {"silu", "gelu", "gelu_pytorch_tanh", "gelu_new", "gelu_fast",
                             "quick_gelu", "relu", "relu2", "sigmoid", "tanh"})];
}

const OpDef activation{
    "activation", infer, run, [] { return kernel_infos<ActivationArgs>(kKernels); }, 0, axes};

}  // namespace lockstep::ops
