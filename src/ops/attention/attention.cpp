#include "ops/attention/attention.h"

#include <fmt/format.h>

#include <cstring>

#include "kernels/element.h"
#include "ops/check.h"
#include "ops/paged_rows.h"

namespace lockstep::ops {
namespace {

constexpr Kernel<AttentionArgs> kKernels[] = {
    {"cpu.simd", RowInvariant::kYes, never_refuse<AttentionArgs>, attention_cpu},
    {"ref", RowInvariant::kYes, never_refuse<AttentionArgs>, attention_ref},
};

enum Input { kQ, kK, kV, kPositions, kRowOffsets, kPageOffsets, kPages, kKCache, kVCache, kSinks };

void check_heads(const InferCall& call) {
  constexpr std::string_view op = "attention";
  const TensorType& q = call.inputs[kQ];
  const TensorType& k = call.inputs[kK];
  const TensorType& v = call.inputs[kV];
  expect_activation(op, "q", q);
  for (const Input i : {kQ, kK, kV}) {
    constexpr std::string_view kNames[] = {"q", "k", "v"};
    expect_rank(op, kNames[i], call.inputs[i], 3, 3);
    expect_dtype(op, kNames[i], call.inputs[i], {q.dtype});
  }
  expect_shape(op, "k", k, Shape{q.shape[0], k.shape[1], q.shape[2]});
  expect_shape(op, "v", v, Shape{q.shape[0], k.shape[1], v.shape[2]});
  const int64_t n_heads = expect_static(op, "q", q, 1);
  const int64_t n_kv_heads = expect_static(op, "k", k, 1);
  if (n_kv_heads < 1 || n_heads % n_kv_heads != 0) {
    fail(op, "k", fmt::format("a number of heads that divides {}", n_heads), to_string(k));
  }
}

std::span<const double> slopes_of(const Attrs& attrs) {
  return attrs.has("alibi_slopes") ? attrs.get_floats("alibi_slopes") : std::span<const double>();
}

AlibiRounding alibi_rounding_of(const Attrs& attrs) {
  return expect_choice("attention", "alibi_rounding", attrs.get_string("alibi_rounding", "none"),
                       {"none", "bfloat16"}) == 0
             ? AlibiRounding::kNone
             : AlibiRounding::kBFloat16;
}

void check_scores(const InferCall& call) {
  constexpr std::string_view op = "attention";
  (void)call.attrs.get_float("scale");
  (void)call.attrs.get_float("alibi_scale", 1);
  alibi_rounding_of(call.attrs);
  const int64_t window = call.attrs.get_int("window", 0);
  if (window < 0) fail(op, "window", "0 or more", fmt::format("{}", window));
  const double soft_cap = call.attrs.get_float("soft_cap", 0);
  if (!(soft_cap >= 0)) fail(op, "soft_cap", "0 or more", fmt::format("{}", soft_cap));
  const int64_t n_heads = expect_static(op, "q", call.inputs[kQ], 1);
  const auto n_slopes = static_cast<int64_t>(slopes_of(call.attrs).size());
  if (n_slopes != 0 && n_slopes != n_heads) {
    fail(op, "alibi_slopes", fmt::format("one for each of {} heads", n_heads),
         fmt::format("{}", n_slopes));
  }
  if (call.inputs.size() > kSinks) {
    expect_weight(op, "sinks", call.inputs[kSinks]);
    expect_shape(op, "sinks", call.inputs[kSinks], Shape{n_heads});
  }
}

std::vector<TensorType> infer(const InferCall& call) {
  constexpr std::string_view op = "attention";
  expect_inputs(op, call, 9, 10);
  check_heads(call);
  const Shape& q = call.inputs[kQ].shape;
  const Shape& v = call.inputs[kV].shape;
  for (const Input i : {kPositions, kRowOffsets, kPageOffsets, kPages}) {
    constexpr std::string_view kNames[] = {"positions", "row_offsets", "page_offsets", "pages"};
    expect_dtype(op, kNames[i - kPositions], call.inputs[i], {DType::kInt32});
    expect_rank(op, kNames[i - kPositions], call.inputs[i], 1, 1);
  }
  expect_shape(op, "positions", call.inputs[kPositions], Shape{q[0]});
  expect_shape(op, "page_offsets", call.inputs[kPageOffsets], call.inputs[kRowOffsets].shape);
  const TensorType& k_cache = call.inputs[kKCache];
  const TensorType& v_cache = call.inputs[kVCache];
  expect_dtype(op, "k_cache", k_cache, {call.inputs[kQ].dtype});
  expect_dtype(op, "v_cache", v_cache, {call.inputs[kQ].dtype});
  expect_rank(op, "k_cache", k_cache, 4, 4);
  const Dim pages = k_cache.shape[0];
  const Dim page_size = k_cache.shape[2];
  expect_shape(op, "k_cache", k_cache, Shape{pages, v[1], page_size, q[2]});
  expect_shape(op, "v_cache", v_cache, Shape{pages, v[1], page_size, v[2]});
  check_scores(call);
  return {{call.inputs[kQ].dtype, Shape{q[0], q[1], v[2]}}};
}

void run(const OpCall& call) {
  check_call(attention, call);
  const View& q = call.inputs[kQ];
  const View& k_cache = call.inputs[kKCache];
  const bool has_sinks = call.inputs.size() > kSinks;
  const std::span<const double> slopes = slopes_of(call.attrs);
  const AttentionArgs args{
      .q = q.data,
      .k = call.inputs[kK].data,
      .v = call.inputs[kV].data,
      .positions = call.inputs[kPositions].as<int32_t>(),
      .row_offsets = call.inputs[kRowOffsets].as<int32_t>(),
      .page_offsets = call.inputs[kPageOffsets].as<int32_t>(),
      .pages = call.inputs[kPages].as<int32_t>(),
      .k_cache = k_cache.data,
      .v_cache = call.inputs[kVCache].data,
      .sinks = has_sinks ? call.inputs[kSinks].data : nullptr,
      .alibi_slopes = slopes.empty() ? nullptr : slopes.data(),
      .out = call.outputs[0].data,
      .n_tokens = q.dim(0),
      .n_sequences = call.inputs[kRowOffsets].dim(0) - 1,
      .n_heads = q.dim(1),
      .n_kv_heads = k_cache.dim(1),
      .key_width = q.dim(2),
      .value_width = call.inputs[kV].dim(2),
      .page_size = k_cache.dim(2),
      .window = call.attrs.get_int("window", 0),
      .scale = static_cast<float>(call.attrs.get_float("scale")),
      .soft_cap = static_cast<float>(call.attrs.get_float("soft_cap", 0)),
      .alibi_scale = static_cast<float>(call.attrs.get_float("alibi_scale", 1)),
      .alibi_rounding = alibi_rounding_of(call.attrs),
      .dtype = q.dtype,
      .sinks_dtype = has_sinks ? call.inputs[kSinks].dtype : q.dtype,
  };
  check_paged_rows("attention",
                   {args.positions, args.row_offsets, args.page_offsets, args.pages, args.n_tokens,
                    args.n_sequences, call.inputs[kPages].dim(0), args.page_size, k_cache.dim(0)});
  dispatch<AttentionArgs>("attention", kKernels, args, q.dtype == DType::kFloat32, call.context);
}

// By query heads. The heads that share keys and values stay together where there are enough of
// these for all ranks; else ranks share theirs.
std::vector<ShardAxis> axes(const ShardCall& call) {
  const int64_t n_heads = call.inputs[kQ].shape[1].count;
  const int64_t group = n_heads / call.inputs[kK].shape[1].count;
  ShardAxis axis{.n_units = n_heads,
                 .inputs = std::vector<AxisDim>(call.inputs.size()),
                 .outputs = {split_dim(1)},
                 .is_anchor = true};
  axis.inputs[kQ] = split_dim(1);
  for (const Input i : {kK, kV, kKCache, kVCache}) axis.inputs[i] = split_dim(1, 1, group);
  if (call.inputs.size() > kSinks) axis.inputs[kSinks] = split_dim(0);
  return {axis};
}

Attrs local_attrs(const Attrs& whole, const LocalShard& shard) {
  const std::span<const double> slopes = slopes_of(whole);
  if (slopes.empty()) return whole;
  std::vector<double> own;
  for (const Range& heads : shard.units) {
    own.insert(own.end(), slopes.begin() + heads.begin, slopes.begin() + heads.end);
  }
  Attrs attrs = whole;
  attrs.set("alibi_slopes", std::move(own));
  return attrs;
}

}  // namespace

void write_cache(const AttentionArgs& args, ThreadPool& pool) noexcept {
  const size_t k_bytes = static_cast<size_t>(args.key_width) * dtype_size(args.dtype);
  const size_t v_bytes = static_cast<size_t>(args.value_width) * dtype_size(args.dtype);
  pool.parallel_for(args.n_tokens, 64, [&](int64_t begin, int64_t end, int) {
    int64_t s = 0;
    for (int64_t t = begin; t < end; ++t) {
      while (t >= args.row_offsets[s + 1]) ++s;
      for (int64_t h = 0; h < args.n_kv_heads; ++h) {
        const int64_t to = cache_row(args, s, h, args.positions[t]);
        const int64_t from = t * args.n_kv_heads + h;
        std::memcpy(element(args.k_cache, args.dtype, to * args.key_width),
                    element(args.k, args.dtype, from * args.key_width), k_bytes);
        std::memcpy(element(args.v_cache, args.dtype, to * args.value_width),
                    element(args.v, args.dtype, from * args.value_width), v_bytes);
      }
    }
  });
}

const OpDef attention{"attention",
                      infer,
                      run,
                      [] { return kernel_infos<AttentionArgs>(kKernels); },
                      1u << kKCache | 1u << kVCache,
                      axes,
                      local_attrs};

}  // namespace lockstep::ops
