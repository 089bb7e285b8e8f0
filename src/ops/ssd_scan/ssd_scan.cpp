#include "ops/ssd_scan/ssd_scan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/element.h"
#include "ops/check.h"

namespace lockstep::ops {
namespace {

const char* refuse_few_tokens(const SsdScanArgs& args) {
  return args.n_tokens < 16 * args.n_sequences ? "fewer than 16 tokens a sequence" : nullptr;
}

constexpr Kernel<SsdScanArgs> kKernels[] = {
    {"cpu.chunked", RowInvariant::kNo, refuse_few_tokens, ssd_scan_chunked},
    {"cpu.recurrent", RowInvariant::kYes, never_refuse<SsdScanArgs>, ssd_scan_recurrent},
    {"ref", RowInvariant::kYes, never_refuse<SsdScanArgs>, ssd_scan_ref},
};

enum Input { kX, kB, kC, kDt, kALog, kD, kDtBias, kRowOffsets, kSlots, kState };

struct StepLimit {
  double min, max;
};
StepLimit step_limit(const Attrs& attrs) {
  const StepLimit limit{attrs.get_float("dt_min", 0),
                        attrs.get_float("dt_max", std::numeric_limits<double>::infinity())};
  if (!(limit.min <= limit.max)) {
    fail("ssd_scan", "dt_max", fmt::format("at least dt_min {}", limit.min),
         fmt::format("{}", limit.max));
  }
  return limit;
}

std::vector<TensorType> infer(const InferCall& call) {
  constexpr std::string_view op = "ssd_scan";
  expect_inputs(op, call, 10, 10);
  const TensorType& x = call.inputs[kX];
  const TensorType& b = call.inputs[kB];
  expect_activation(op, "x", x);
  for (const Input i : {kX, kB, kC}) {
    constexpr std::string_view kNames[] = {"x", "B", "C"};
    expect_rank(op, kNames[i], call.inputs[i], 3, 3);
    expect_dtype(op, kNames[i], call.inputs[i], {x.dtype});
  }
  const Dim rows = x.shape[0], heads = x.shape[1], state_size = b.shape[2];
  expect_shape(op, "B", b, Shape{rows, b.shape[1], state_size});
  expect_shape(op, "C", call.inputs[kC], b.shape);
  expect_dtype(op, "dt", call.inputs[kDt], {x.dtype});
  expect_shape(op, "dt", call.inputs[kDt], Shape{rows, heads});
  const int64_t n_heads = expect_static(op, "x", x, 1);
  const int64_t n_groups = expect_static(op, "B", b, 1);
  if (n_groups < 1 || n_heads % n_groups != 0) {
    fail(op, "B", fmt::format("a number of groups that divides {}", n_heads), to_string(b));
  }
  for (const Input i : {kALog, kD, kDtBias}) {
    constexpr std::string_view kNames[] = {"A_log", "D", "dt_bias"};
    expect_weight(op, kNames[i - kALog], call.inputs[i]);
    expect_shape(op, kNames[i - kALog], call.inputs[i], Shape{heads});
  }
  const TensorType& state = call.inputs[kState];
  expect_state_inputs(op, call.inputs[kRowOffsets], call.inputs[kSlots], state);
  expect_dtype(op, "state", state, {DType::kFloat32});
  expect_shape(op, "state", state, Shape{state.shape[0], heads, x.shape[2], state_size});
  step_limit(call.attrs);
  return {{DType::kFloat32, x.shape}, {DType::kFloat32, Shape{rows, heads}}};
}

void run(const OpCall& call) {
  check_call(ssd_scan, call);
  const View& x = call.inputs[kX];
  const View& b = call.inputs[kB];
  const View& slots = call.inputs[kSlots];
  check_sequences("ssd_scan", call.inputs[kRowOffsets], slots, x.dim(0),
                  call.inputs[kState].dim(0));
  const StepLimit limit = step_limit(call.attrs);
  const SsdScanArgs args{
      .x = x.data,
      .b = b.data,
      .c = call.inputs[kC].data,
      .dt = call.inputs[kDt].data,
      .a_log = call.inputs[kALog].data,
      .d = call.inputs[kD].data,
      .dt_bias = call.inputs[kDtBias].data,
      .row_offsets = call.inputs[kRowOffsets].as<int32_t>(),
      .slots = slots.as<int32_t>(),
      .state = call.inputs[kState].as<float>(),
      .y = call.outputs[0].as<float>(),
      .delta = call.outputs[1].as<float>(),
      .n_tokens = x.dim(0),
      .n_sequences = slots.dim(0),
      .n_heads = x.dim(1),
      .head_dim = x.dim(2),
      .n_groups = b.dim(1),
      .state_size = b.dim(2),
      .dt_min = static_cast<float>(limit.min),
      .dt_max = static_cast<float>(limit.max),
      .dtype = x.dtype,
      .a_log_dtype = call.inputs[kALog].dtype,
      .d_dtype = call.inputs[kD].dtype,
      .dt_bias_dtype = call.inputs[kDtBias].dtype,
  };
  dispatch<SsdScanArgs>("ssd_scan", kKernels, args, x.dtype == DType::kFloat32, call.context);
}

// By heads; those that share B and C stay together where there are enough groups.
std::vector<ShardAxis> axes(const ShardCall& call) {
  const int64_t n_heads = call.inputs[kX].shape[1].count;
  const int64_t group = n_heads / call.inputs[kB].shape[1].count;
  ShardAxis axis{.n_units = n_heads,
                 .inputs = std::vector<AxisDim>(call.inputs.size()),
                 .outputs = {split_dim(1), split_dim(1)},
                 .is_anchor = true};
  for (const Input i : {kX, kDt, kState}) axis.inputs[i] = split_dim(1);
  for (const Input i : {kALog, kD, kDtBias}) axis.inputs[i] = split_dim(0);
  for (const Input i : {kB, kC}) axis.inputs[i] = split_dim(1, 1, group);
  return {axis};
}

}  // namespace

void ssd_deltas(const SsdScanArgs& args, ThreadPool& pool) noexcept {
  const int64_t grain = 1 + 1024 / (args.n_heads + 1);
  pool.parallel_for(args.n_tokens, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin * args.n_heads; i < end * args.n_heads; ++i) {
      const double z = double{load_float(args.dt, args.dtype, i)} +
                       load_float(args.dt_bias, args.dt_bias_dtype, i % args.n_heads);
      args.delta[i] = static_cast<float>(z > 20 ? z : std::log1p(std::exp(z)));
    }
  });
}

float ssd_step(const SsdScanArgs& args, int64_t token, int64_t head) noexcept {
  return std::clamp(args.delta[token * args.n_heads + head], args.dt_min, args.dt_max);
}

float ssd_decay_rate(const SsdScanArgs& args, int64_t head) noexcept {
  return static_cast<float>(-std::exp(double{load_float(args.a_log, args.a_log_dtype, head)}));
}

const OpDef ssd_scan{"ssd_scan",   infer, run, [] { return kernel_infos<SsdScanArgs>(kKernels); },
                     1u << kState, axes};

}  // namespace lockstep::ops
