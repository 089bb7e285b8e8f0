// Blocks of kBlock keys, aligned to absolute positions, are widened to float32 once and meet all
// query rows of a task: the heads of one key head's group, over some tokens of one sequence.
//
//   for each block of keys, in order:      score -> running maximum -> weights -> sum of values
//
// A row meets the same blocks in the same order whatever task it is in, and a block adds only the
// keys that the row may see: its bits depend on its own keys alone.
#include "kernels/cpu/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/attention/attention_cpu.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <limits>

#include "kernels/cpu/dot-inl.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/softmax-inl.h"
#include "kernels/element.h"
#include "ops/attention/attention.h"

HWY_BEFORE_NAMESPACE();
namespace lockstep {
namespace HWY_NAMESPACE {
namespace {

using ops::AttentionArgs;
using ops::KeyRange;

constexpr int64_t kBlock = kSoftmaxBlock;
constexpr int64_t kTileRows = 64;  // tokens times heads of a group, but at least one token

constexpr int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

/// Query rows of one sequence and one key head. Row r is token first_token + r / group, head
/// first_head + r % group.
template <class T>
class QueryTile {
 public:
  static size_t scratch_bytes(const AttentionArgs& args) {
    const int64_t rows = max_rows(args) * (2 + key_stride(args) + value_stride(args) + kBlock);
    return static_cast<size_t>(rows + kBlock * (key_stride(args) + value_stride(args))) *
           sizeof(float);
  }

  QueryTile(const AttentionArgs& args, int64_t sequence, int64_t kv_head, int64_t first_token,
            int64_t n_tokens, float* scratch)
      : args_(args),
        sequence_(sequence),
        kv_head_(kv_head),
        first_token_(first_token),
        group_(args.n_heads / args.n_kv_heads),
        n_rows_(n_tokens * group_),
        queries_(scratch),
        sums_(queries_ + max_rows(args) * key_stride(args)),
        weights_(sums_ + max_rows(args) * value_stride(args)),
        keys_(weights_ + max_rows(args) * kBlock),
        values_(keys_ + kBlock * key_stride(args)),
        max_(values_ + kBlock * value_stride(args)),
        total_(max_ + max_rows(args)) {}

  void run() {
    KeyRange range{std::numeric_limits<int64_t>::max(), 0};
    for (int64_t r = 0; r < n_rows_; ++r) {
      load_query(r);
      const KeyRange mine = range_of(r);
      range = {std::min(range.begin, mine.begin), std::max(range.end, mine.end)};
    }
    for (int64_t block = range.begin / kBlock * kBlock; block < range.end; block += kBlock) {
      add_block(block, range);
    }
    for (int64_t r = 0; r < n_rows_; ++r) store_row(r);
  }

 private:
  static int64_t lanes() { return static_cast<int64_t>(hn::Lanes(F32())); }
  static int64_t max_rows(const AttentionArgs& args) {
    return std::max(kTileRows, args.n_heads / args.n_kv_heads);
  }
  static int64_t key_stride(const AttentionArgs& args) {
    return round_up(args.key_width, HWY_MAX_BYTES / sizeof(float));
  }
  static int64_t value_stride(const AttentionArgs& args) {
    return round_up(args.value_width, HWY_MAX_BYTES / sizeof(float));
  }

  int64_t token(int64_t r) const { return first_token_ + r / group_; }
  int64_t head(int64_t r) const { return kv_head_ * group_ + r % group_; }
  KeyRange range_of(int64_t r) const { return key_range(args_, args_.positions[token(r)]); }

  void load_query(int64_t r) {
    const int64_t at = (token(r) * args_.n_heads + head(r)) * args_.key_width;
    widen(static_cast<const T*>(args_.q) + at, static_cast<size_t>(args_.key_width),
          queries_ + r * key_stride(args_), static_cast<size_t>(key_stride(args_)));
    std::fill_n(sums_ + r * value_stride(args_), value_stride(args_), 0.0f);
    // A sink is a key without a value.
    max_[r] = args_.sinks == nullptr ? -std::numeric_limits<float>::infinity()
                                     : load_float(args_.sinks, args_.sinks_dtype, head(r));
    total_[r] = args_.sinks == nullptr ? 0.0f : 1.0f;
  }

  void add_block(int64_t block, KeyRange range) {
    const int64_t first = std::max(range.begin, block) - block;
    const int64_t last = std::min(range.end, block + kBlock) - block;
    for (int64_t j = first; j < last; ++j) {
      const int64_t row = cache_row(args_, sequence_, kv_head_, block + j);
      widen(static_cast<const T*>(args_.k_cache) + row * args_.key_width,
            static_cast<size_t>(args_.key_width), keys_ + j * key_stride(args_),
            static_cast<size_t>(key_stride(args_)));
      widen(static_cast<const T*>(args_.v_cache) + row * args_.value_width,
            static_cast<size_t>(args_.value_width), values_ + j * value_stride(args_),
            static_cast<size_t>(value_stride(args_)));
    }
    score_block(first, last);
    for (int64_t r = 0; r < n_rows_; ++r) {
      const KeyRange mine = range_of(r);
      const int64_t begin = std::max(mine.begin - block, int64_t{0});
      const int64_t end = std::min(mine.end - block, kBlock);
      if (begin < end) add_values(r, begin, end, soft_max(r, block, begin, end));
    }
  }

  /// weights_[r, j] = q[r] . k[j] for the keys [first, last) of the block.
  void score_block(int64_t first, int64_t last) {
    const auto k_stride = static_cast<size_t>(key_stride(args_));
    const auto n = static_cast<size_t>(round_up(args_.key_width, lanes()));
    constexpr int64_t kKeys = kDotCols;
    float sums[4 * kKeys];
    for (int64_t r = 0; r < n_rows_; r += kDotRows) {
      const int64_t rows = std::min<int64_t>(kDotRows, n_rows_ - r);
      const float* q = queries_ + r * key_stride(args_);
      for (int64_t j = first; j < last; j += kKeys) {
        const float* k = keys_ + j * key_stride(args_);
        const int64_t n_keys = std::min(kKeys, last - j);
        if (n_keys == kKeys) {
          dot_rows<kKeys>(rows, q, k_stride, k, k_stride, n, sums);
        } else {
          for (int64_t c = 0; c < n_keys; ++c) {
            float column[4];
            dot_rows<1>(rows, q, k_stride, k + c * key_stride(args_), k_stride, n, column);
            for (int64_t i = 0; i < rows; ++i) sums[i * kKeys + c] = column[i];
          }
        }
        for (int64_t i = 0; i < rows; ++i) {
          std::copy_n(sums + i * kKeys, n_keys, weights_ + (r + i) * kBlock + j);
        }
      }
    }
  }

  /// Products of the keys [begin, end) to weights relative to the new maximum of row r. Returns
  /// what the row's sums so far must be multiplied with.
  float soft_max(int64_t r, int64_t block, int64_t begin, int64_t end) {
    const F32 d;
    float* products = weights_ + r * kBlock;
    const VF scale = hn::Set(d, args_.scale);
    if (args_.soft_cap == 0 && args_.alibi_slopes == nullptr) {
      const auto score = [scale](VF product, int64_t) HWY_ATTR { return hn::Mul(product, scale); };
      return add_to_softmax(products, begin, end, score, max_[r], total_[r]);
    }
    const Alibi alibi = alibi_of(r);
    const auto score = [&](VF product, int64_t j) HWY_ATTR {
      VF s = hn::Mul(product, scale);
      if (args_.soft_cap != 0) {
        const VF cap = hn::Set(d, args_.soft_cap);
        s = hn::IfThenElse(hn::IsNaN(s), s, hn::Mul(hn::Tanh(d, hn::Div(s, cap)), cap));
      }
      return args_.alibi_slopes == nullptr ? s : hn::Add(s, alibi.bias(block + j));
    };
    return add_to_softmax(products, begin, end, score, max_[r], total_[r]);
  }

  /// What a row adds to the scores of the keys from a position on.
  struct Alibi {
    float slope, scale, position;
    ops::AlibiRounding rounding;

    VF rounded(VF position_of_key) const {
      const F32 d;
      const VF place = round_as(d, position_of_key, bf16{});
      const VF short_slope = round_as(d, hn::Set(d, slope), bf16{});
      return round_as(d, hn::Mul(short_slope, place), bf16{});
    }
    VF bias(int64_t first) const {
      const F32 d;
      const VF own = hn::Set(d, position);
      const VF key = hn::Iota(d, static_cast<float>(first));
      if (rounding == ops::AlibiRounding::kBFloat16) {
        return hn::Mul(hn::Set(d, scale), hn::Sub(rounded(key), rounded(own)));
      }
      return hn::Mul(hn::Set(d, scale), hn::Mul(hn::Set(d, slope), hn::Sub(key, own)));
    }
  };
  Alibi alibi_of(int64_t r) const {
    const double slope = args_.alibi_slopes == nullptr ? 0 : args_.alibi_slopes[head(r)];
    return {static_cast<float>(slope), args_.alibi_scale,
            static_cast<float>(args_.positions[token(r)]), args_.alibi_rounding};
  }

  /// sums_[r, :] = sums_[r, :] * correction + sum_j weights_[r, j] * v[j, :], j in order.
  void add_values(int64_t r, int64_t begin, int64_t end, float correction) {
    const F32 d;
    const float* weights = weights_ + r * kBlock;
    float* sums = sums_ + r * value_stride(args_);
    const int64_t n = lanes();
    const int64_t width = round_up(args_.value_width, n);
    const VF factor = hn::Set(d, correction);
    int64_t i = 0;
    for (; i + 4 * n <= width; i += 4 * n) {
      VF s0 = hn::Mul(hn::Load(d, sums + i), factor);
      VF s1 = hn::Mul(hn::Load(d, sums + i + n), factor);
      VF s2 = hn::Mul(hn::Load(d, sums + i + 2 * n), factor);
      VF s3 = hn::Mul(hn::Load(d, sums + i + 3 * n), factor);
      for (int64_t j = begin; j < end; ++j) {
        const float* v = values_ + j * value_stride(args_) + i;
        const VF weight = hn::Set(d, weights[j]);
        s0 = hn::MulAdd(weight, hn::Load(d, v), s0);
        s1 = hn::MulAdd(weight, hn::Load(d, v + n), s1);
        s2 = hn::MulAdd(weight, hn::Load(d, v + 2 * n), s2);
        s3 = hn::MulAdd(weight, hn::Load(d, v + 3 * n), s3);
      }
      hn::Store(s0, d, sums + i);
      hn::Store(s1, d, sums + i + n);
      hn::Store(s2, d, sums + i + 2 * n);
      hn::Store(s3, d, sums + i + 3 * n);
    }
    for (; i < width; i += n) {
      VF s = hn::Mul(hn::Load(d, sums + i), factor);
      for (int64_t j = begin; j < end; ++j) {
        s = hn::MulAdd(hn::Set(d, weights[j]), hn::Load(d, values_ + j * value_stride(args_) + i),
                       s);
      }
      hn::Store(s, d, sums + i);
    }
  }

  void store_row(int64_t r) {
    const F32 d;
    const int64_t at = (token(r) * args_.n_heads + head(r)) * args_.value_width;
    const VF total = hn::Set(d, total_[r]);
    map(
        static_cast<size_t>(args_.value_width), static_cast<T*>(args_.out) + at,
        [total](VF v) HWY_ATTR { return hn::Div(v, total); }, sums_ + r * value_stride(args_));
  }

  const AttentionArgs& args_;
  int64_t sequence_, kv_head_, first_token_, group_, n_rows_;
  float* queries_;  // [max_rows, key_stride], zero past key_width
  float* sums_;     // [max_rows, value_stride]
  float* weights_;  // [max_rows, kBlock]: scores, then weights
  float* keys_;     // [kBlock, key_stride], zero past key_width
  float* values_;   // [kBlock, value_stride]
  float* max_;      // [max_rows]
  float* total_;    // [max_rows], sum of weights
};

/// The rows of a step in tiles of up to tile_tokens tokens of one sequence.
template <class Body>
void for_each_tile(const AttentionArgs& args, int64_t tile_tokens, const Body& body) {
  for (int64_t s = 0; s < args.n_sequences; ++s) {
    for (int64_t t = args.row_offsets[s]; t < args.row_offsets[s + 1]; t += tile_tokens) {
      body(s, t, std::min<int64_t>(tile_tokens, args.row_offsets[s + 1] - t));
    }
  }
}

template <class T>
void run_typed(const AttentionArgs& args, ThreadPool& pool) {
  const int64_t group = args.n_heads / args.n_kv_heads;
  const int64_t tile_tokens = std::max<int64_t>(1, kTileRows / group);
  int64_t n_tiles = 0;
  for_each_tile(args, tile_tokens, [&](int64_t, int64_t, int64_t) { ++n_tiles; });
  // Tasks of a head follow each other, so that its keys stay in the cache.
  parallel_tasks(pool, n_tiles * args.n_kv_heads, [&](int64_t task, int worker) HWY_ATTR {
    float* scratch = static_cast<float*>(pool.scratch(worker, QueryTile<T>::scratch_bytes(args)));
    int64_t left = task % n_tiles;
    for_each_tile(args, tile_tokens, [&](int64_t s, int64_t t, int64_t n) HWY_ATTR {
      if (left-- == 0) QueryTile<T>(args, s, task / n_tiles, t, n, scratch).run();
    });
  });
}

void run_attention(const AttentionArgs& args, ThreadPool& pool) {
  ops::write_cache(args, pool);
  visit_activation_type(args.dtype, [&]<class T>(T) HWY_ATTR { run_typed<T>(args, pool); });
}

}  // namespace

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace lockstep
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lockstep {
HWY_EXPORT(run_attention);

namespace ops {

void attention_cpu(const AttentionArgs& args, ThreadPool& pool) noexcept {
  HWY_DYNAMIC_DISPATCH(run_attention)(args, pool);
}

}  // namespace ops
}  // namespace lockstep
#endif
