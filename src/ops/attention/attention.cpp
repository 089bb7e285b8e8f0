#include "ops/attention/attention.h"

#include <fmt/format.h>

#include <cstring>

#include "kernels/element.h"
#include "ops/check.h"

namespace lockstep::ops {
namespace {

constexpr Kernel<AttentionArgs> kKernels[] = {
    {"cpu.simd", RowInvariant::kYes, never_refuse<AttentionArgs>, attention_cpu},
    {"ref", RowInvariant::kYes, never_refuse<AttentionArgs>, attention_ref},
};

enum Input { kQ, kK, kV, kPositions, kRowOffsets, kPageOffsets, kPages, kKCache, kVCache };

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

std::vector<TensorType> infer(const InferCall& call) {
  constexpr std::string_view op = "attention";
  expect_inputs(op, call, 9, 9);
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
  (void)call.attrs.get_float("scale");
  const int64_t window = call.attrs.get_int("window", 0);
  if (window < 0) fail(op, "window", "0 or more", fmt::format("{}", window));
  return {{call.inputs[kQ].dtype, Shape{q[0], q[1], v[2]}}};
}

void expect_value(std::string_view what, int64_t index, bool ok, std::string_view expected,
                  int64_t found) {
  if (ok) return;
  fail("attention", fmt::format("{}[{}]", what, index), expected, fmt::format("{}", found));
}

/// Everything that a kernel indexes with.
void check_indices(const AttentionArgs& args, int64_t n_pages, int64_t n_cache_pages) {
  const int64_t n = args.n_sequences;
  expect_value("row_offsets", 0, args.row_offsets[0] == 0, "0", args.row_offsets[0]);
  expect_value("row_offsets", n, args.row_offsets[n] == args.n_tokens, "the number of tokens",
               args.row_offsets[n]);
  expect_value("page_offsets", 0, args.page_offsets[0] >= 0, "0 or more", args.page_offsets[0]);
  expect_value("page_offsets", n, args.page_offsets[n] <= n_pages, "at most the number of pages",
               args.page_offsets[n]);
  for (int64_t s = 0; s < n; ++s) {
    const int32_t* rows = args.row_offsets + s;
    const int32_t* pages = args.page_offsets + s;
    expect_value("row_offsets", s + 1, rows[1] >= rows[0], "no less than before", rows[1]);
    expect_value("page_offsets", s + 1, pages[1] >= pages[0], "no less than before", pages[1]);
    const int64_t capacity = (pages[1] - pages[0]) * args.page_size;
    for (int64_t t = rows[0]; t < rows[1]; ++t) {
      const int32_t position = args.positions[t];
      if (position >= 0 && position < capacity) continue;
      expect_value(
          "positions", t, false,
          fmt::format("a position in [0, {}), what the pages of sequence {} hold", capacity, s),
          position);
    }
  }
  for (int64_t p = args.page_offsets[0]; p < args.page_offsets[n]; ++p) {
    expect_value("pages", p, args.pages[p] >= 0 && args.pages[p] < n_cache_pages,
                 "a page of the cache", args.pages[p]);
  }
}

void run(const OpCall& call) {
  check_call(attention, call);
  const View& q = call.inputs[kQ];
  const View& k_cache = call.inputs[kKCache];
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
      .dtype = q.dtype,
  };
  if (args.n_sequences < 0) fail("attention", "row_offsets", "at least one entry", "none");
  check_indices(args, call.inputs[kPages].dim(0), k_cache.dim(0));
  dispatch<AttentionArgs>("attention", kKernels, args, q.dtype == DType::kFloat32, call.context);
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

const OpDef attention{"attention", infer, run, [] { return kernel_infos<AttentionArgs>(kKernels); },
                      1u << kKCache | 1u << kVCache};

}  // namespace lockstep::ops
