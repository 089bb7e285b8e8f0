#include "ops/experts/experts.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "ops/check.h"

namespace lockstep::ops {
namespace {

constexpr Kernel<ExpertsArgs> kKernels[] = {
    {"cpu.grouped", RowInvariant::kYes, never_refuse<ExpertsArgs>, experts_cpu},
    {"ref", RowInvariant::kYes, never_refuse<ExpertsArgs>, experts_ref},
};

enum Input { kX, kIds, kWeights, kGateUp, kDown, kGateUpBias, kDownBias };

bool is_interleaved(const Attrs& attrs) {
  return expect_choice("experts", "order", attrs.get_string("order", "halves"),
                       {"halves", "interleaved"}) == 1;
}

float limit_of(const Attrs& attrs) {
  if (!attrs.has("limit")) return std::numeric_limits<float>::infinity();
  return static_cast<float>(attrs.get_float("limit"));
}

void check_options(const InferCall& call) {
  constexpr std::string_view op = "experts";
  activation_of(op, call.attrs);
  is_interleaved(call.attrs);
  (void)call.attrs.get_float("up_offset", 0);
  const float limit = limit_of(call.attrs);
  if (!(limit > 0)) fail(op, "limit", "a number above 0", fmt::format("{}", limit));
  if (call.inputs.size() <= kGateUpBias) return;
  expect_inputs(op, call, 7, 7);
  const Shape& gate_up = call.inputs[kGateUp].shape;
  expect_weight(op, "gate_up_bias", call.inputs[kGateUpBias]);
  expect_shape(op, "gate_up_bias", call.inputs[kGateUpBias], Shape{gate_up[0], gate_up[1]});
  const Shape& down = call.inputs[kDown].shape;
  expect_weight(op, "down_bias", call.inputs[kDownBias]);
  expect_shape(op, "down_bias", call.inputs[kDownBias], Shape{down[0], down[1]});
}

std::vector<TensorType> infer(const InferCall& call) {
  constexpr std::string_view op = "experts";
  expect_inputs(op, call, 5, 7);
  const TensorType& x = call.inputs[kX];
  const TensorType& ids = call.inputs[kIds];
  const TensorType& gate_up = call.inputs[kGateUp];
  const TensorType& down = call.inputs[kDown];
  expect_activation(op, "x", x);
  expect_rank(op, "x", x, 2, 2);
  expect_dtype(op, "ids", ids, {DType::kInt32});
  expect_rank(op, "ids", ids, 2, 2);
  expect_shape(op, "ids", ids, Shape{x.shape[0], ids.shape[1]});
  expect_dtype(op, "weights", call.inputs[kWeights], {DType::kFloat32});
  expect_shape(op, "weights", call.inputs[kWeights], ids.shape);
  expect_weight(op, "gate_up", gate_up);
  expect_weight(op, "down", down);
  expect_rank(op, "down", down, 3, 3);
  expect_shape(op, "down", down, Shape{down.shape[0], x.shape[1], down.shape[2]});
  expect_shape(op, "gate_up", gate_up,
               Shape{down.shape[0], 2 * expect_static(op, "down", down, 2), x.shape[1]});
  check_options(call);
  const bool is_partial = call.attrs.get_int("partial", 0) != 0;
  return {{is_partial ? DType::kFloat32 : x.dtype, x.shape}};
}

void run(const OpCall& call) {
  check_call(experts, call);
  const View& x = call.inputs[kX];
  const View& down = call.inputs[kDown];
  const bool biased = call.inputs.size() > kGateUpBias;
  const ExpertsArgs args{
      .x = x.data,
      .ids = call.inputs[kIds].as<int32_t>(),
      .weights = call.inputs[kWeights].as<float>(),
      .gate_up = call.inputs[kGateUp].data,
      .down = down.data,
      .gate_up_bias = biased ? call.inputs[kGateUpBias].data : nullptr,
      .down_bias = biased ? call.inputs[kDownBias].data : nullptr,
      .out = call.outputs[0].data,
      .n_tokens = x.dim(0),
      .k = call.inputs[kIds].dim(1),
      .first_expert = call.attrs.get_int("first_expert", 0),
      .n_experts = down.dim(0),
      .width = x.dim(1),
      .inner = down.dim(2),
      .fn = activation_of("experts", call.attrs),
      .limit = limit_of(call.attrs),
      .up_offset = static_cast<float>(call.attrs.get_float("up_offset", 0)),
      .interleaved = is_interleaved(call.attrs),
      .dtype = x.dtype,
      .gate_up_dtype = call.inputs[kGateUp].dtype,
      .down_dtype = down.dtype,
      .out_dtype = call.outputs[0].dtype,
      .gate_up_bias_dtype = biased ? call.inputs[kGateUpBias].dtype : x.dtype,
      .down_bias_dtype = biased ? call.inputs[kDownBias].dtype : x.dtype,
  };
  const int64_t n_experts = call.attrs.get_int("n_experts", args.n_experts);
  for (int64_t i = 0; i < args.n_tokens * args.k; ++i) {
    if (args.ids[i] >= 0 && args.ids[i] < n_experts) continue;
    fail("experts", fmt::format("ids[{}, {}]", i / args.k, i % args.k),
         fmt::format("an expert in [0, {})", n_experts), fmt::format("{}", args.ids[i]));
  }
  dispatch<ExpertsArgs>("experts", kKernels, args, x.dtype == DType::kFloat32, call.context);
}

// By experts: a rank adds up those of its own.
std::vector<ShardAxis> axes(const ShardCall& call) {
  ShardAxis axis{.n_units = call.inputs[kDown].shape[0].count,
                 .inputs = std::vector<AxisDim>(call.inputs.size()),
                 .outputs = {{}},
                 .is_sum = true};
  std::fill(axis.inputs.begin() + kGateUp, axis.inputs.end(), split_dim(0));
  return {axis};
}

Attrs local_attrs(const Attrs& whole, const LocalShard& shard) {
  Attrs attrs = whole;
  attrs.set("first_expert", shard.units.front().begin);
  attrs.set("n_experts", shard.axis.n_units);
  attrs.set("partial", int64_t{1});
  return attrs;
}

}  // namespace

const OpDef experts{
    "experts", infer, run,        [] { return kernel_infos<ExpertsArgs>(kKernels); },
    0,         axes,  local_attrs};

}  // namespace lockstep::ops
