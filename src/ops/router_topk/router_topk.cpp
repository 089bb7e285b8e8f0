#include "ops/router_topk/router_topk.h"

#include <fmt/format.h>

#include "ops/check.h"

namespace lockstep::ops {
namespace {

constexpr Kernel<RouterTopkArgs> kKernels[] = {
    {"cpu", RowInvariant::kYes, never_refuse<RouterTopkArgs>, router_topk_cpu},
    {"ref", RowInvariant::kYes, never_refuse<RouterTopkArgs>, router_topk_ref},
};

/// The attributes; pointers and n_rows stay empty.
RouterTopkArgs settings(const Attrs& attrs, int64_t n_experts) {
  constexpr std::string_view op = "router_topk";
  RouterTopkArgs args{};
  args.n_experts = n_experts;
  args.k = attrs.get_int("top_k");
  args.n_group = attrs.get_int("n_group", 1);
  args.topk_group = attrs.get_int("topk_group", 1);
  args.scaling = static_cast<float>(attrs.get_float("scaling", 1.0));
  args.sigmoid =
      expect_choice(op, "scoring", attrs.get_string("scoring"), {"softmax", "sigmoid"}) == 1;
  args.topk_first = expect_choice(op, "order", attrs.get_string("order", "scores_first"),
                                  {"scores_first", "topk_first"}) == 1;
  args.group_by_best = expect_choice(op, "group_score", attrs.get_string("group_score", "two_best"),
                                     {"two_best", "best"}) == 1;
  args.normalise = attrs.get_int("normalise", 0) != 0;
  return args;
}

void expect_range(std::string_view attr, int64_t value, int64_t most) {
  if (value >= 1 && value <= most) return;
  fail("router_topk", attr, fmt::format("1 to {}", most), fmt::format("{}", value));
}

void check_settings(const RouterTopkArgs& args, bool has_bias) {
  constexpr std::string_view op = "router_topk";
  expect_range("n_group", args.n_group, args.n_experts);
  if (args.n_experts % args.n_group != 0) {
    fail(op, "n_group", fmt::format("a divisor of {} experts", args.n_experts),
         fmt::format("{}", args.n_group));
  }
  const int64_t group = args.n_experts / args.n_group;
  if (args.n_group > 1 && group < 2 && !args.group_by_best) {
    fail(op, "n_group", "groups of two experts or more", fmt::format("{}", args.n_group));
  }
  expect_range("topk_group", args.topk_group, args.n_group);
  expect_range("top_k", args.k, args.topk_group * group);
  if (args.topk_first && (args.sigmoid || has_bias || args.n_group > 1)) {
    fail(op, "order", "scores_first with sigmoid, bias or groups", "topk_first");
  }
}

std::vector<TensorType> infer(const InferCall& call) {
  constexpr std::string_view op = "router_topk";
  expect_inputs(op, call, 1, 2);
  const TensorType& logits = call.inputs[0];
  expect_activation(op, "logits", logits);
  expect_rank(op, "logits", logits, 2, 2);
  const int64_t n_experts = expect_static(op, "logits", logits, 1);
  const bool has_bias = call.inputs.size() == 2;
  if (has_bias) {
    expect_weight(op, "bias", call.inputs[1]);
    expect_shape(op, "bias", call.inputs[1], Shape{n_experts});
  }
  const RouterTopkArgs args = settings(call.attrs, n_experts);
  check_settings(args, has_bias);
  const Shape shape{logits.shape[0], args.k};
  return {{DType::kInt32, shape}, {DType::kFloat32, shape}};
}

void run(const OpCall& call) {
  check_call(router_topk, call);
  const View& logits = call.inputs[0];
  const bool has_bias = call.inputs.size() == 2;
  RouterTopkArgs args = settings(call.attrs, logits.dim(1));
  args.logits = logits.data;
  args.bias = has_bias ? call.inputs[1].data : nullptr;
  args.ids = call.outputs[0].as<int32_t>();
  args.weights = call.outputs[1].as<float>();
  args.n_rows = logits.dim(0);
  args.dtype = logits.dtype;
  args.bias_dtype = has_bias ? call.inputs[1].dtype : DType::kFloat32;
  dispatch<RouterTopkArgs>("router_topk", kKernels, args, logits.dtype == DType::kFloat32,
                           call.context);
}

}  // namespace

const OpDef router_topk{"router_topk", infer, run,
                        [] { return kernel_infos<RouterTopkArgs>(kKernels); }};

}  // namespace lockstep::ops
