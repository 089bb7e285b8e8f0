#include "ops/gated_delta_rule/gated_delta_rule.h"

#include <fmt/format.h>

#include <cmath>

#include "kernels/element.h"
#include "ops/check.h"

namespace lockstep::ops {
namespace {

constexpr Kernel<GatedDeltaRuleArgs> kKernels[] = {
    {"cpu.simd", RowInvariant::kYes, never_refuse<GatedDeltaRuleArgs>, gated_delta_rule_cpu},
    {"ref", RowInvariant::kYes, never_refuse<GatedDeltaRuleArgs>, gated_delta_rule_ref},
};

enum Input { kQ, kK, kV, kA, kBeta, kALog, kDtBias, kRowOffsets, kSlots, kState };

std::vector<TensorType> infer(const InferCall& call) {
  constexpr std::string_view op = "gated_delta_rule";
  expect_inputs(op, call, 10, 10);
  const TensorType& q = call.inputs[kQ];
  const TensorType& v = call.inputs[kV];
  expect_activation(op, "q", q);
  for (const Input i : {kQ, kK, kV, kA, kBeta}) {
    constexpr std::string_view kNames[] = {"q", "k", "v", "a", "beta"};
    const int rank = i <= kV ? 3 : 2;
    expect_rank(op, kNames[i], call.inputs[i], rank, rank);
    expect_dtype(op, kNames[i], call.inputs[i], {q.dtype});
  }
  const Dim rows = q.shape[0], heads = v.shape[1];
  const int64_t n_key_heads = expect_static(op, "q", q, 1);
  const int64_t n_heads = expect_static(op, "v", v, 1);
  expect_static(op, "q", q, 2);
  expect_static(op, "v", v, 2);
  expect_shape(op, "k", call.inputs[kK], q.shape);
  expect_shape(op, "v", v, Shape{rows, heads, v.shape[2]});
  if (n_key_heads < 1 || n_heads % n_key_heads != 0) {
    fail(op, "q", fmt::format("a number of heads that divides {}", n_heads), to_string(q));
  }
  expect_shape(op, "a", call.inputs[kA], Shape{rows, heads});
  expect_shape(op, "beta", call.inputs[kBeta], Shape{rows, heads});
  for (const Input i : {kALog, kDtBias}) {
    constexpr std::string_view kNames[] = {"A_log", "dt_bias"};
    expect_weight(op, kNames[i - kALog], call.inputs[i]);
    expect_shape(op, kNames[i - kALog], call.inputs[i], Shape{heads});
  }
  const TensorType& state = call.inputs[kState];
  expect_state_inputs(op, call.inputs[kRowOffsets], call.inputs[kSlots], state);
  expect_dtype(op, "state", state, {DType::kFloat32});
  expect_shape(op, "state", state, Shape{state.shape[0], heads, q.shape[2], v.shape[2]});
  return {v, {DType::kFloat32, Shape{rows, heads}}};
}

void run(const OpCall& call) {
  check_call(gated_delta_rule, call);
  const View& q = call.inputs[kQ];
  const View& v = call.inputs[kV];
  const View& slots = call.inputs[kSlots];
  check_sequences("gated_delta_rule", call.inputs[kRowOffsets], slots, q.dim(0),
                  call.inputs[kState].dim(0));
  const GatedDeltaRuleArgs args{
      .q = q.data,
      .k = call.inputs[kK].data,
      .v = v.data,
      .a = call.inputs[kA].data,
      .beta = call.inputs[kBeta].data,
      .a_log = call.inputs[kALog].data,
      .dt_bias = call.inputs[kDtBias].data,
      .row_offsets = call.inputs[kRowOffsets].as<int32_t>(),
      .slots = slots.as<int32_t>(),
      .state = call.inputs[kState].as<float>(),
      .y = call.outputs[0].data,
      .g = call.outputs[1].as<float>(),
      .n_tokens = q.dim(0),
      .n_sequences = slots.dim(0),
      .n_heads = v.dim(1),
      .n_key_heads = q.dim(1),
      .key_dim = q.dim(2),
      .value_dim = v.dim(2),
      .dtype = q.dtype,
      .a_log_dtype = call.inputs[kALog].dtype,
      .dt_bias_dtype = call.inputs[kDtBias].dtype,
  };
  dispatch<GatedDeltaRuleArgs>("gated_delta_rule", kKernels, args, q.dtype == DType::kFloat32,
                               call.context);
}

// By value heads; those that share a key head stay together where there are enough of these.
std::vector<ShardAxis> axes(const ShardCall& call) {
  const int64_t n_heads = call.inputs[kV].shape[1].count;
  const int64_t group = n_heads / call.inputs[kQ].shape[1].count;
  ShardAxis axis{.n_units = n_heads,
                 .inputs = std::vector<AxisDim>(call.inputs.size()),
                 .outputs = {split_dim(1), split_dim(1)},
                 .is_anchor = true};
  for (const Input i : {kQ, kK}) axis.inputs[i] = split_dim(1, 1, group);
  for (const Input i : {kV, kA, kBeta, kState}) axis.inputs[i] = split_dim(1);
  for (const Input i : {kALog, kDtBias}) axis.inputs[i] = split_dim(0);
  return {axis};
}

}  // namespace

void delta_rule_decays(const GatedDeltaRuleArgs& args, ThreadPool& pool) noexcept {
  const int64_t grain = 1 + 1024 / (args.n_heads + 1);
  pool.parallel_for(args.n_tokens, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin * args.n_heads; i < end * args.n_heads; ++i) {
      const int64_t head = i % args.n_heads;
      const double z = double{load_float(args.a, args.dtype, i)} +
                       load_float(args.dt_bias, args.dt_bias_dtype, head);
      const double rate = std::exp(double{load_float(args.a_log, args.a_log_dtype, head)});
      args.g[i] = static_cast<float>(-rate * (z > 20 ? z : std::log1p(std::exp(z))));
    }
  });
}

const OpDef gated_delta_rule{
    "gated_delta_rule", infer, run, [] { return kernel_infos<GatedDeltaRuleArgs>(kKernels); },
    1u << kState,       axes};

}  // namespace lockstep::ops
