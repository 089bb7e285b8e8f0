#include "ops/embedding/embedding.h"

#include <fmt/format.h>

#include "ops/check.h"

namespace lockstep::ops {
namespace {

constexpr Kernel<EmbeddingArgs> kKernels[] = {
    {"cpu.simd", RowInvariant::kYes, never_refuse<EmbeddingArgs>, embedding_cpu},
    {"ref", RowInvariant::kYes, never_refuse<EmbeddingArgs>, embedding_ref},
};

std::vector<TensorType> infer(const InferCall& call) {
  constexpr std::string_view op = "embedding";
  expect_inputs(op, call, 2, 2);
  const TensorType& ids = call.inputs[0];
  const TensorType& weight = call.inputs[1];
  expect_dtype(op, "ids", ids, {DType::kInt32});
  expect_rank(op, "ids", ids, 1, 1);
  expect_weight(op, "weight", weight);
  expect_rank(op, "weight", weight, 2, 2);
  return {{call.activation_dtype, Shape{ids.shape[0], weight.shape[1]}}};
}

void run(const OpCall& call) {
  check_call(embedding, call);
  const View& ids = call.inputs[0];
  const View& weight = call.inputs[1];
  const View& out = call.outputs[0];
  const EmbeddingArgs args{
      .ids = ids.as<int32_t>(),
      .weight = weight.data,
      .out = out.data,
      .n_tokens = ids.dim(0),
      .first_row = call.attrs.get_int("first_row", 0),
      .n_rows = weight.dim(0),
      .vocabulary = call.attrs.get_int("vocabulary", weight.dim(0)),
      .width = weight.dim(1),
      .weight_dtype = weight.dtype,
      .dtype = out.dtype,
  };
  for (int64_t t = 0; t < args.n_tokens; ++t) {
    if (args.ids[t] >= 0 && args.ids[t] < args.vocabulary) continue;
    fail("embedding", fmt::format("ids, row {}", t),
         fmt::format("a token id in [0, {})", args.vocabulary), fmt::format("{}", args.ids[t]));
  }
  dispatch<EmbeddingArgs>("embedding", kKernels, args, out.dtype == DType::kFloat32, call.context);
}

// By rows of the vocabulary: the rank that has a row gives it, the others zeros.
std::vector<ShardAxis> axes(const ShardCall& call) {
  return {{.n_units = call.inputs[1].shape[0].count,
           .inputs = {{}, split_dim(0)},
           .outputs = {{}},
           .is_sum = true}};
}

Attrs local_attrs(const Attrs& whole, const LocalShard& shard) {
  Attrs attrs = whole;
  attrs.set("first_row", shard.units.front().begin);
  attrs.set("vocabulary", shard.axis.n_units);
  return attrs;
}

}  // namespace

const OpDef embedding{
    "embedding", infer, run,        [] { return kernel_infos<EmbeddingArgs>(kKernels); },
    0,           axes,  local_attrs};

}  // namespace lockstep::ops
