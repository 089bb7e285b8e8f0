#include "ops/latent_attention/latent_attention.h"

#include <fmt/format.h>

#include <cstring>

#include "kernels/element.h"
#include "ops/check.h"
#include "ops/paged_rows.h"

namespace lockstep::ops {
namespace {

constexpr Kernel<LatentAttentionArgs> kKernels[] = {
    {"cpu.expanded", RowInvariant::kNo, latent_attention_expanded_refuse,
     latent_attention_expanded},
    {"cpu.absorbed", RowInvariant::kYes, never_refuse<LatentAttentionArgs>,
     latent_attention_absorbed},
    {"ref", RowInvariant::kYes, never_refuse<LatentAttentionArgs>, latent_attention_ref},
};

enum Input {
  kQNope,
  kQRot,
  kLatent,
  kKRot,
  kKvB,
  kPositions,
  kRowOffsets,
  kPageOffsets,
  kPages,
  kCache
};
constexpr std::string_view kNames[] = {"q_nope", "q_rot",     "latent",      "k_rot",
                                       "kv_b",   "positions", "row_offsets", "page_offsets",
                                       "pages",  "cache"};

std::vector<TensorType> infer(const InferCall& call) {
  constexpr std::string_view op = "latent_attention";
  expect_inputs(op, call, 10, 10);
  const TensorType& q_nope = call.inputs[kQNope];
  const TensorType& q_rot = call.inputs[kQRot];
  const TensorType& latent = call.inputs[kLatent];
  const TensorType& kv_b = call.inputs[kKvB];
  const TensorType& cache = call.inputs[kCache];
  expect_activation(op, "q_nope", q_nope);
  for (const Input i : {kQRot, kLatent, kKRot, kCache}) {
    expect_dtype(op, kNames[i], call.inputs[i], {q_nope.dtype});
  }
  expect_rank(op, "q_nope", q_nope, 3, 3);
  expect_rank(op, "q_rot", q_rot, 3, 3);
  expect_rank(op, "latent", latent, 2, 2);
  const Dim tokens = q_nope.shape[0];
  expect_shape(op, "q_rot", q_rot, Shape{tokens, q_nope.shape[1], q_rot.shape[2]});
  expect_shape(op, "latent", latent, Shape{tokens, latent.shape[1]});
  expect_shape(op, "k_rot", call.inputs[kKRot], Shape{tokens, q_rot.shape[2]});
  const int64_t n_heads = expect_static(op, "q_nope", q_nope, 1);
  const int64_t nope_width = expect_static(op, "q_nope", q_nope, 2);
  const int64_t rot_width = expect_static(op, "q_rot", q_rot, 2);
  const int64_t rank = expect_static(op, "latent", latent, 1);
  expect_weight(op, "kv_b", kv_b);
  expect_rank(op, "kv_b", kv_b, 2, 2);
  expect_shape(op, "kv_b", kv_b, Shape{kv_b.shape[0], rank});
  const int64_t kv_rows = expect_static(op, "kv_b", kv_b, 0);
  if (n_heads < 1 || kv_rows % n_heads != 0 || kv_rows / n_heads <= nope_width) {
    fail(op, "kv_b", fmt::format("{} heads of more than {} rows", n_heads, nope_width),
         to_string(kv_b));
  }
  for (const Input i : {kPositions, kRowOffsets, kPageOffsets, kPages}) {
    expect_dtype(op, kNames[i], call.inputs[i], {DType::kInt32});
    expect_rank(op, kNames[i], call.inputs[i], 1, 1);
  }
  expect_shape(op, "positions", call.inputs[kPositions], Shape{tokens});
  expect_shape(op, "page_offsets", call.inputs[kPageOffsets], call.inputs[kRowOffsets].shape);
  expect_rank(op, "cache", cache, 4, 4);
  expect_shape(op, "cache", cache, Shape{cache.shape[0], 1, cache.shape[2], rank + rot_width});
  (void)call.attrs.get_float("scale");
  return {{q_nope.dtype, Shape{tokens, n_heads, kv_rows / n_heads - nope_width}}};
}

void run(const OpCall& call) {
  check_call(latent_attention, call);
  const View& q_nope = call.inputs[kQNope];
  const View& cache = call.inputs[kCache];
  const LatentAttentionArgs args{
      .q_nope = q_nope.data,
      .q_rot = call.inputs[kQRot].data,
      .latent = call.inputs[kLatent].data,
      .k_rot = call.inputs[kKRot].data,
      .kv_b = call.inputs[kKvB].data,
      .positions = call.inputs[kPositions].as<int32_t>(),
      .row_offsets = call.inputs[kRowOffsets].as<int32_t>(),
      .page_offsets = call.inputs[kPageOffsets].as<int32_t>(),
      .pages = call.inputs[kPages].as<int32_t>(),
      .cache = cache.data,
      .out = call.outputs[0].data,
      .n_tokens = q_nope.dim(0),
      .n_sequences = call.inputs[kRowOffsets].dim(0) - 1,
      .n_heads = q_nope.dim(1),
      .nope_width = q_nope.dim(2),
      .rot_width = call.inputs[kQRot].dim(2),
      .value_width = call.outputs[0].dim(2),
      .rank = call.inputs[kLatent].dim(1),
      .page_size = cache.dim(2),
      .scale = static_cast<float>(call.attrs.get_float("scale")),
      .dtype = q_nope.dtype,
      .weight_dtype = call.inputs[kKvB].dtype,
  };
  check_paged_rows("latent_attention",
                   {args.positions, args.row_offsets, args.page_offsets, args.pages, args.n_tokens,
                    args.n_sequences, call.inputs[kPages].dim(0), args.page_size, cache.dim(0)});
  dispatch<LatentAttentionArgs>("latent_attention", kKernels, args, q_nope.dtype == DType::kFloat32,
                                call.context);
}

// By heads; every rank keeps the latents.
std::vector<ShardAxis> axes(const ShardCall& call) {
  const int64_t n_heads = call.inputs[kQNope].shape[1].count;
  ShardAxis axis{.n_units = n_heads,
                 .inputs = std::vector<AxisDim>(call.inputs.size()),
                 .outputs = {split_dim(1)},
                 .is_anchor = true};
  axis.inputs[kQNope] = axis.inputs[kQRot] = split_dim(1);
  axis.inputs[kKvB] = split_dim(0, call.inputs[kKvB].shape[0].count / n_heads);
  return {axis};
}

}  // namespace

void write_latents(const LatentAttentionArgs& args, ThreadPool& pool) noexcept {
  const size_t latent_bytes = static_cast<size_t>(args.rank) * dtype_size(args.dtype);
  const size_t rot_bytes = static_cast<size_t>(args.rot_width) * dtype_size(args.dtype);
  pool.parallel_for(args.n_tokens, 64, [&](int64_t begin, int64_t end, int) {
    int64_t s = 0;
    for (int64_t t = begin; t < end; ++t) {
      while (t >= args.row_offsets[s + 1]) ++s;
      const int64_t to = latent_row(args, s, args.positions[t]) * (args.rank + args.rot_width);
      std::memcpy(element(args.cache, args.dtype, to),
                  element(args.latent, args.dtype, t * args.rank), latent_bytes);
      std::memcpy(element(args.cache, args.dtype, to + args.rank),
                  element(args.k_rot, args.dtype, t * args.rot_width), rot_bytes);
    }
  });
}

const char* latent_attention_expanded_refuse(const LatentAttentionArgs& args) {
  // Products a key: expanding rank * both once and both a row, absorbing 2 * rank a row.
  const int64_t both = args.nope_width + args.value_width;
  const bool pays = args.n_tokens * (2 * args.rank - both) > args.n_sequences * args.rank * both;
  return pays ? nullptr : "few new tokens a sequence: folding the queries costs less";
}

const OpDef latent_attention{
    "latent_attention", infer, run, [] { return kernel_infos<LatentAttentionArgs>(kKernels); },
    1u << kCache,       axes};

}  // namespace lockstep::ops
