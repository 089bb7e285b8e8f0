// Both forms over blocks of kBlock cache rows, aligned to absolute positions, widened to float32
// once for all query rows of a task:
//
//   expanded   rows: tokens of one head      keys, values: made from the latents of the block
//   absorbed   rows: tokens times some heads keys: the cache rows; values: their latents
//
// A row meets the same blocks in the same order whatever task it is in, and a block adds only the
// keys that the row may see: its bits depend on its own keys alone.
#include "kernels/cpu/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/latent_attention/latent_attention_cpu.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <limits>

#include "kernels/cpu/dot-inl.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/softmax-inl.h"
#include "ops/latent_attention/latent_attention.h"

HWY_BEFORE_NAMESPACE();
namespace lockstep {
namespace HWY_NAMESPACE {
namespace {

using ops::LatentAttentionArgs;

constexpr int64_t kBlock = kSoftmaxBlock;
constexpr int64_t kMaxHeads = 16;  // of an absorbed task
constexpr int64_t kTileRows = 64;  // of an absorbed task, and half of an expanded one's

constexpr int64_t kMaxLanes = HWY_MAX_BYTES / sizeof(float);
constexpr int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

/// out[r * out_stride + c] = x[r, :] . w[c, :] for n_rows rows and n_columns columns of TW.
template <class TW>
HWY_INLINE void multiply(int64_t n_rows, const float* x, int64_t x_stride, const TW* w, int64_t k,
                         int64_t n_columns, float* out, int64_t out_stride) {
  constexpr int kCols = 4;
  const auto stride = static_cast<size_t>(x_stride), n = static_cast<size_t>(k);
  float sums[4 * kCols];
  for (int64_t r = 0; r < n_rows; r += 4) {
    const int64_t rows = std::min<int64_t>(4, n_rows - r);
    int64_t c = 0;
    for (; c + kCols <= n_columns; c += kCols) {
      dot_rows<kCols>(rows, x + r * x_stride, stride, w + c * k, n, n, sums);
      for (int64_t i = 0; i < rows; ++i) {
        std::copy_n(sums + i * kCols, kCols, out + (r + i) * out_stride + c);
      }
    }
    for (; c < n_columns; ++c) {
      dot_rows<1>(rows, x + r * x_stride, stride, w + c * k, n, n, sums);
      for (int64_t i = 0; i < rows; ++i) out[(r + i) * out_stride + c] = sums[i];
    }
  }
}

/// sums += sum_j factors[j] * rows[j, :] for j in [begin, end), in order; `width` a multiple of a
/// vector.
HWY_INLINE void add_rows(float* sums, int64_t width, const float* factors, const float* rows,
                         int64_t stride, int64_t begin, int64_t end) {
  const F32 d;
  const auto n = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t i = 0; i < width; i += n) {
    VF s = hn::Load(d, sums + i);
    for (int64_t j = begin; j < end; ++j) {
      s = hn::MulAdd(hn::Set(d, factors[j]), hn::Load(d, rows + j * stride + i), s);
    }
    hn::Store(s, d, sums + i);
  }
}

/// What a task is: tokens of one sequence, heads beside each other.
struct Task {
  int64_t sequence, first_token, n_tokens, first_head, n_heads;
};

template <class T, class TW, bool kAbsorbed>
class Tile {
 public:
  static constexpr int64_t kMaxRows = kAbsorbed ? kTileRows : 2 * kTileRows;

  static size_t scratch_bytes(const LatentAttentionArgs& args) {
    const int64_t rows = kMaxRows * (key_stride(args) + value_stride(args) + kBlock + 2);
    const int64_t keys = kBlock * (key_stride(args) + value_stride(args) + latent_stride(args));
    return static_cast<size_t>(rows + keys) * sizeof(float);
  }

  Tile(const LatentAttentionArgs& args, const Task& task, float* scratch)
      : args_(args),
        task_(task),
        n_rows_(task.n_tokens * task.n_heads),
        queries_(scratch),
        sums_(queries_ + kMaxRows * key_stride(args)),
        weights_(sums_ + kMaxRows * value_stride(args)),
        keys_(weights_ + kMaxRows * kBlock),
        values_(keys_ + kBlock * key_stride(args)),
        latents_(values_ + kBlock * value_stride(args)),
        max_(latents_ + kBlock * latent_stride(args)),
        total_(max_ + kMaxRows) {
    std::fill_n(scratch, scratch_bytes(args) / sizeof(float), 0.0f);
  }

  void run() {
    int64_t n_keys = 0;
    for (int64_t r = 0; r < n_rows_; ++r) {
      load_query(r);
      max_[r] = -std::numeric_limits<float>::infinity();
      n_keys = std::max(n_keys, keys_of(r));
    }
    for (int64_t block = 0; block < n_keys; block += kBlock) add_block(block, n_keys);
    store();
  }

 private:
  static int64_t key_stride(const LatentAttentionArgs& args) {
    return round_up((kAbsorbed ? args.rank : args.nope_width) + args.rot_width, kMaxLanes);
  }
  static int64_t value_stride(const LatentAttentionArgs& args) {
    return round_up(kAbsorbed ? args.rank : args.value_width, kMaxLanes);
  }
  static int64_t latent_stride(const LatentAttentionArgs& args) {
    return round_up(args.rank, kMaxLanes);
  }

  int64_t token(int64_t r) const { return task_.first_token + r / task_.n_heads; }
  int64_t head(int64_t r) const { return task_.first_head + r % task_.n_heads; }
  int64_t keys_of(int64_t r) const { return args_.positions[token(r)] + 1; }
  /// Row `row` of kv_b's part for `head`.
  const TW* weight(int64_t head, int64_t row) const {
    const int64_t first = head * (args_.nope_width + args_.value_width);
    return static_cast<const TW*>(args_.kv_b) + (first + row) * args_.rank;
  }

  void load_query(int64_t r) {
    const int64_t at = token(r) * args_.n_heads + head(r);
    const T* nope = static_cast<const T*>(args_.q_nope) + at * args_.nope_width;
    float* to = queries_ + r * key_stride(args_);
    if constexpr (kAbsorbed) {
      const auto n = static_cast<size_t>(args_.rank);
      for (int64_t i = 0; i < args_.nope_width; ++i) {
        const VF x = hn::Set(F32(), hn::GetLane(load_n(F32(), nope + i, 1)));
        map(
            n, to, [x](VF w, VF sum) HWY_ATTR { return hn::MulAdd(x, w, sum); }, weight(head(r), i),
            static_cast<const float*>(to));
      }
      to += args_.rank;
    } else {
      const auto n = static_cast<size_t>(args_.nope_width);
      widen(nope, n, to, n);
      to += args_.nope_width;
    }
    const auto n = static_cast<size_t>(args_.rot_width);
    widen(static_cast<const T*>(args_.q_rot) + at * args_.rot_width, n, to, n);
  }

  void add_block(int64_t block, int64_t n_keys) {
    const int64_t last = std::min(n_keys - block, kBlock);
    for (int64_t j = 0; j < last; ++j) load_key(j, block + j);
    if constexpr (!kAbsorbed) {
      multiply(last, latents_, latent_stride(args_), weight(task_.first_head, 0), args_.rank,
               args_.nope_width, keys_, key_stride(args_));
      multiply(last, latents_, latent_stride(args_), weight(task_.first_head, args_.nope_width),
               args_.rank, args_.value_width, values_, value_stride(args_));
    }
    multiply(n_rows_, queries_, key_stride(args_), keys_, key_stride(args_), last, weights_,
             kBlock);
    for (int64_t r = 0; r < n_rows_; ++r) {
      const int64_t end = std::min(keys_of(r) - block, kBlock);
      if (end > 0) add_values(r, end);
    }
  }

  void load_key(int64_t j, int64_t position) {
    const T* from =
        static_cast<const T*>(args_.cache) +
        ops::latent_row(args_, task_.sequence, position) * (args_.rank + args_.rot_width);
    const auto rank = static_cast<size_t>(args_.rank), rot = static_cast<size_t>(args_.rot_width);
    float* key = keys_ + j * key_stride(args_);
    if constexpr (kAbsorbed) {
      widen(from, rank + rot, key, rank + rot);
      std::copy_n(key, rank, values_ + j * value_stride(args_));
    } else {
      widen(from, rank, latents_ + j * latent_stride(args_), rank);
      widen(from + rank, rot, key + args_.nope_width, rot);
    }
  }

  /// Adds the first `end` keys of the block to row r.
  void add_values(int64_t r, int64_t end) {
    const F32 d;
    const auto n = static_cast<int64_t>(hn::Lanes(d));
    float* weights = weights_ + r * kBlock;
    const VF scale = hn::Set(d, args_.scale);
    const auto score = [scale](VF product, int64_t) HWY_ATTR { return hn::Mul(product, scale); };
    const float correction = add_to_softmax(weights, 0, end, score, max_[r], total_[r]);
    float* sums = sums_ + r * value_stride(args_);
    if (correction != 1) {
      const VF factor = hn::Set(d, correction);
      for (int64_t i = 0; i < value_stride(args_); i += n) {
        hn::Store(hn::Mul(hn::Load(d, sums + i), factor), d, sums + i);
      }
    }
    add_rows(sums, value_stride(args_), weights, values_, value_stride(args_), 0, end);
  }

  void store() {
    for (int64_t r = 0; r < n_rows_; ++r) {
      const VF total = hn::Set(F32(), total_[r]);
      float* sums = sums_ + r * value_stride(args_);
      map(
          static_cast<size_t>(value_stride(args_)), sums,
          [total](VF v) HWY_ATTR { return hn::Div(v, total); }, static_cast<const float*>(sums));
    }
    if constexpr (kAbsorbed) {
      // The queries are spent: their place takes the rows' values.
      const int64_t step = task_.n_heads;
      for (int64_t h = 0; h < step; ++h) {
        for (int64_t d = 0; d < args_.value_width; d += key_stride(args_)) {
          const int64_t n = std::min(key_stride(args_), args_.value_width - d);
          multiply(task_.n_tokens, sums_ + h * value_stride(args_), step * value_stride(args_),
                   weight(task_.first_head + h, args_.nope_width + d), args_.rank, n,
                   queries_ + h * key_stride(args_), step * key_stride(args_));
          for (int64_t r = h; r < n_rows_; r += step) {
            store_row(r, queries_ + r * key_stride(args_), d, n);
          }
        }
      }
    } else {
      for (int64_t r = 0; r < n_rows_; ++r) {
        store_row(r, sums_ + r * value_stride(args_), 0, args_.value_width);
      }
    }
  }

  void store_row(int64_t r, const float* values, int64_t d, int64_t n) {
    const int64_t at = (token(r) * args_.n_heads + head(r)) * args_.value_width + d;
    map(
        static_cast<size_t>(n), static_cast<T*>(args_.out) + at, [](VF v) HWY_ATTR { return v; },
        values);
  }

  const LatentAttentionArgs& args_;
  const Task task_;
  int64_t n_rows_;
  // Strides are zero past the widths.
  float* queries_;  // [kMaxRows, key_stride]
  float* sums_;     // [kMaxRows, value_stride]
  float* weights_;  // [kMaxRows, kBlock]: scores, then weights
  float* keys_;     // [kBlock, key_stride]
  float* values_;   // [kBlock, value_stride]
  float* latents_;  // [kBlock, latent_stride]
  float* max_;      // [kMaxRows]
  float* total_;    // [kMaxRows], sum of weights
};

/// The rows of a step in tasks of up to tile_tokens tokens of one sequence.
template <class Body>
void for_each_tile(const LatentAttentionArgs& args, int64_t tile_tokens, const Body& body) {
  for (int64_t s = 0; s < args.n_sequences; ++s) {
    for (int64_t t = args.row_offsets[s]; t < args.row_offsets[s + 1]; t += tile_tokens) {
      body(s, t, std::min<int64_t>(tile_tokens, args.row_offsets[s + 1] - t));
    }
  }
}

template <bool kAbsorbed>
void run_form(const LatentAttentionArgs& args, ThreadPool& pool) {
  ops::write_latents(args, pool);
  const int64_t heads = kAbsorbed ? std::min(args.n_heads, kMaxHeads) : 1;
  const int64_t head_tasks = (args.n_heads + heads - 1) / heads;
  const int64_t tile_tokens = (kAbsorbed ? kTileRows : 2 * kTileRows) / heads;
  int64_t n_tiles = 0;
  for_each_tile(args, tile_tokens, [&](int64_t, int64_t, int64_t) { ++n_tiles; });
  visit_activation_type(args.dtype, [&]<class T>(T) HWY_ATTR {
    visit_float_type(args.weight_dtype, [&]<class TW>(TW) HWY_ATTR {
      using TypedTile = Tile<T, TW, kAbsorbed>;
      parallel_tasks(pool, n_tiles * head_tasks, [&](int64_t task, int worker) HWY_ATTR {
        float* scratch = static_cast<float*>(pool.scratch(worker, TypedTile::scratch_bytes(args)));
        const int64_t head = task / n_tiles * heads;
        int64_t left = task % n_tiles;
        for_each_tile(args, tile_tokens, [&](int64_t s, int64_t t, int64_t n) HWY_ATTR {
          if (left-- != 0) return;
          const Task part{s, t, n, head, std::min(heads, args.n_heads - head)};
          TypedTile(args, part, scratch).run();
        });
      });
    });
  });
}

void run_expanded(const LatentAttentionArgs& args, ThreadPool& pool) {
  run_form<false>(args, pool);
}
void run_absorbed(const LatentAttentionArgs& args, ThreadPool& pool) { run_form<true>(args, pool); }

}  // namespace

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace lockstep
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lockstep {
HWY_EXPORT(run_expanded);
HWY_EXPORT(run_absorbed);

namespace ops {

void latent_attention_expanded(const LatentAttentionArgs& args, ThreadPool& pool) noexcept {
  HWY_DYNAMIC_DISPATCH(run_expanded)(args, pool);
}
void latent_attention_absorbed(const LatentAttentionArgs& args, ThreadPool& pool) noexcept {
  HWY_DYNAMIC_DISPATCH(run_absorbed)(args, pool);
}

}  // namespace ops
}  // namespace lockstep
#endif
