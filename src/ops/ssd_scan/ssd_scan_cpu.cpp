// A task is one head of one sequence, in both forms.
//
//   recurrent   a few rows of the state side by side, so that B and C are loaded once for them
//   chunked     within a chunk: (C B^T, decayed) x; across chunks: C state^T; then the state takes
//               the chunk's x^T B, decayed to its end
#include "kernels/cpu/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/ssd_scan/ssd_scan_cpu.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "hwy/contrib/math/math-inl.h"
#include "kernels/cpu/dot-inl.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd-inl.h"
#include "kernels/element.h"
#include "ops/ssd_scan/ssd_scan.h"

HWY_BEFORE_NAMESPACE();
namespace lockstep {
namespace HWY_NAMESPACE {
namespace {

using ops::SsdScanArgs;

constexpr int64_t kLanePadding = HWY_MAX_BYTES / sizeof(float);
constexpr int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

/// One head of one sequence: where its data lies.
template <class T>
struct Head {
  Head(const SsdScanArgs& args, int64_t task)
      : sequence(task / args.n_heads),
        head(task % args.n_heads),
        group(head / (args.n_heads / args.n_groups)),
        begin(args.row_offsets[sequence]),
        end(args.row_offsets[sequence + 1]),
        width(args.head_dim),
        n(args.state_size),
        rate(ops::ssd_decay_rate(args, head)),
        skip(load_float(args.d, args.d_dtype, head)),
        state(args.state + (args.slots[sequence] * args.n_heads + head) * width * n),
        args_(args) {}

  float step(int64_t t) const { return ops::ssd_step(args_, t, head); }
  const T* x(int64_t t) const {
    return static_cast<const T*>(args_.x) + (t * args_.n_heads + head) * width;
  }
  const T* b(int64_t t) const {
    return static_cast<const T*>(args_.b) + (t * args_.n_groups + group) * n;
  }
  const T* c(int64_t t) const {
    return static_cast<const T*>(args_.c) + (t * args_.n_groups + group) * n;
  }
  float* y(int64_t t) const { return args_.y + (t * args_.n_heads + head) * width; }

  int64_t sequence, head, group, begin, end, width, n;
  float rate, skip;
  float* state;  // [width, n]

 private:
  const SsdScanArgs& args_;
};

/// kRows rows of the state by one token. b and c are zero up to a whole vector past n.
template <int kRows>
HWY_INLINE void advance(float* state, int64_t n, float decay, float step, const float* x,
                        const float* b, const float* c, float skip, float* y) {
  const F32 d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const VF keep = hn::Set(d, decay);
  VF input[kRows], sum[kRows];
  for (int r = 0; r < kRows; ++r) {
    input[r] = hn::Set(d, step * x[r]);
    sum[r] = hn::Zero(d);
  }
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const VF bi = hn::Load(d, b + i), ci = hn::Load(d, c + i);
    for (int r = 0; r < kRows; ++r) {
      const VF s = hn::MulAdd(hn::LoadU(d, state + r * n + i), keep, hn::Mul(input[r], bi));
      hn::StoreU(s, d, state + r * n + i);
      sum[r] = hn::MulAdd(s, ci, sum[r]);
    }
  }
  if (i < n) {
    const auto left = static_cast<size_t>(n - i);
    const VF bi = hn::Load(d, b + i), ci = hn::Load(d, c + i);
    for (int r = 0; r < kRows; ++r) {
      const VF before = load_n(d, state + r * n + i, left);
      const VF s = hn::MulAdd(before, keep, hn::Mul(input[r], bi));
      store_n(d, s, state + r * n + i, left);
      sum[r] = hn::MulAdd(s, ci, sum[r]);
    }
  }
  for (int r = 0; r < kRows; ++r) y[r] = sum_lanes(sum[r]) + skip * x[r];
}

template <class T>
void recurrent(const Head<T>& head, float* scratch) {
  const int64_t stride = round_up(head.n, kLanePadding), width = head.width;
  float* b = scratch;
  float* c = b + stride;
  float* x = c + stride;
  for (int64_t t = head.begin; t < head.end; ++t) {
    widen(head.b(t), static_cast<size_t>(head.n), b, static_cast<size_t>(stride));
    widen(head.c(t), static_cast<size_t>(head.n), c, static_cast<size_t>(stride));
    widen(head.x(t), static_cast<size_t>(width), x, static_cast<size_t>(width));
    const float step = head.step(t), decay = std::exp(step * head.rate);
    float* y = head.y(t);
    int64_t p = 0;
    for (; p + 4 <= width; p += 4) {
      advance<4>(head.state + p * head.n, head.n, decay, step, x + p, b, c, head.skip, y + p);
    }
    for (; p < width; ++p) {
      advance<1>(head.state + p * head.n, head.n, decay, step, x + p, b, c, head.skip, y + p);
    }
  }
}

/// sink(r, c, x[r, :] . w[c, :]) for all r and c; x zero up to a whole vector past k.
template <class Sink>
HWY_INLINE void multiply(const float* x, int64_t x_stride, int64_t n_rows, const float* w,
                         int64_t w_stride, int64_t n_columns, int64_t k, const Sink& sink) {
  const auto xs = static_cast<size_t>(x_stride), ws = static_cast<size_t>(w_stride);
  float sums[4 * kDotCols];
  for (int64_t r = 0; r < n_rows; r += kDotRows) {
    const int64_t rows = std::min<int64_t>(kDotRows, n_rows - r);
    int64_t c = 0;
    for (; c + kDotCols <= n_columns; c += kDotCols) {
      dot_rows<kDotCols>(rows, x + r * x_stride, xs, w + c * w_stride, ws, static_cast<size_t>(k),
                         sums);
      for (int64_t i = 0; i < rows; ++i) {
        for (int64_t j = 0; j < kDotCols; ++j) sink(r + i, c + j, sums[i * kDotCols + j]);
      }
    }
    for (; c < n_columns; ++c) {
      dot_rows<1>(rows, x + r * x_stride, xs, w + c * w_stride, ws, static_cast<size_t>(k), sums);
      for (int64_t i = 0; i < rows; ++i) sink(r + i, c, sums[i]);
    }
  }
}

template <class T>
class Chunked {
 public:
  static size_t scratch_floats(const SsdScanArgs& args) {
    const int64_t stride = round_up(args.state_size, kLanePadding);
    return static_cast<size_t>(2 * kChunk * stride +
                               (stride + 2 * args.head_dim + kChunk + 2) * kChunk);
  }

  Chunked(const Head<T>& head, float* scratch)
      : head_(head),
        stride_(round_up(head.n, kLanePadding)),
        b_(scratch),
        c_(b_ + kChunk * stride_),
        b_columns_(c_ + kChunk * stride_),
        x_columns_(b_columns_ + stride_ * kChunk),
        decayed_x_(x_columns_ + head.width * kChunk),
        weights_(decayed_x_ + head.width * kChunk),
        log_decay_(weights_ + kChunk * kChunk),
        row_(log_decay_ + kChunk) {}

  void run() {
    for (int64_t t = head_.begin; t < head_.end; t += kChunk) {
      chunk(t, std::min(kChunk, head_.end - t));
    }
  }

 private:
  static constexpr int64_t kChunk = 64;  // tokens: a multiple of every vector's lanes

  void chunk(int64_t t, int64_t n_tokens) {
    load_chunk(t, n_tokens);
    multiply(c_, stride_, n_tokens, head_.state, head_.n, head_.width, head_.n,
             [&](int64_t i, int64_t p, float sum) HWY_ATTR {
               head_.y(t + i)[p] =
                   std::exp(log_decay_[i]) * sum + head_.skip * x_columns_[p * kChunk + i];
             });
    weigh(t, n_tokens);
    multiply(weights_, kChunk, n_tokens, x_columns_, kChunk, head_.width, n_tokens,
             [&](int64_t i, int64_t p, float sum) HWY_ATTR { head_.y(t + i)[p] += sum; });
    advance_state(t, n_tokens);
  }

  void load_chunk(int64_t t, int64_t n_tokens) {
    std::fill(b_columns_, weights_, 0.0f);
    double sum = 0;
    for (int64_t i = 0; i < n_tokens; ++i) {
      float* b = b_ + i * stride_;
      widen(head_.b(t + i), static_cast<size_t>(head_.n), b, static_cast<size_t>(stride_));
      widen(head_.c(t + i), static_cast<size_t>(head_.n), c_ + i * stride_,
            static_cast<size_t>(stride_));
      for (int64_t n = 0; n < head_.n; ++n) b_columns_[n * kChunk + i] = b[n];
      const T* x = head_.x(t + i);
      constexpr DType kType = std::is_same_v<T, float> ? DType::kFloat32 : DType::kBFloat16;
      for (int64_t p = 0; p < head_.width; ++p) {
        x_columns_[p * kChunk + i] = load_float(x, kType, p);
      }
      sum += double{head_.step(t + i)} * head_.rate;
      log_decay_[i] = static_cast<float>(sum);
    }
    std::fill(log_decay_ + n_tokens, log_decay_ + kChunk, 0.0f);
  }

  /// weights_[i, j] = C[i] . B[j] * exp(decay from j to i) * step[j] for j <= i, else 0.
  void weigh(int64_t t, int64_t n_tokens) {
    const F32 d;
    const auto lanes = static_cast<int64_t>(hn::Lanes(d));
    multiply(c_, stride_, n_tokens, b_, stride_, n_tokens, head_.n,
             [&](int64_t i, int64_t j, float sum) HWY_ATTR { weights_[i * kChunk + j] = sum; });
    std::fill_n(row_, kChunk, 0.0f);
    for (int64_t j = 0; j < n_tokens; ++j) row_[j] = head_.step(t + j);
    for (int64_t i = 0; i < n_tokens; ++i) {
      float* weights = weights_ + i * kChunk;
      std::fill(weights + i + 1, weights + kChunk, 0.0f);
      const VF end = hn::Set(d, log_decay_[i]);
      for (int64_t j = 0; j <= i; j += lanes) {
        // Past i the exponent may be positive: it must not become infinity times 0.
        const VF exponent = hn::Min(hn::Sub(end, hn::Load(d, log_decay_ + j)), hn::Zero(d));
        const VF factor = hn::Mul(hn::Exp(d, exponent), hn::Load(d, row_ + j));
        hn::Store(hn::Mul(hn::Load(d, weights + j), factor), d, weights + j);
      }
    }
  }

  /// state = state * exp(decay of the chunk) + sum_j exp(decay from j to the end) step[j] x[j] B[j]
  void advance_state(int64_t t, int64_t n_tokens) {
    const float last = log_decay_[n_tokens - 1];
    for (int64_t j = 0; j < n_tokens; ++j) {
      const float factor = std::exp(last - log_decay_[j]) * head_.step(t + j);
      for (int64_t p = 0; p < head_.width; ++p) {
        decayed_x_[p * kChunk + j] = factor * x_columns_[p * kChunk + j];
      }
    }
    const float keep = std::exp(last);
    multiply(decayed_x_, kChunk, head_.width, b_columns_, kChunk, head_.n, n_tokens,
             [&](int64_t p, int64_t n, float sum) HWY_ATTR {
               float& state = head_.state[p * head_.n + n];
               state = state * keep + sum;
             });
  }

  const Head<T>& head_;
  int64_t stride_;
  float* b_;          // [kChunk, stride], zero past n
  float* c_;          // [kChunk, stride], zero past n
  float* b_columns_;  // [stride, kChunk], zero past the last token, as the two below
  float* x_columns_;  // [width, kChunk]
  float* decayed_x_;  // [width, kChunk]
  float* weights_;    // [kChunk, kChunk]
  float* log_decay_;  // [kChunk], from before the chunk to after token i
  float* row_;        // [kChunk]
};

template <class Run>
void for_each_head(const SsdScanArgs& args, ThreadPool& pool, size_t scratch_floats,
                   const Run& run) {
  ops::ssd_deltas(args, pool);
  visit_activation_type(args.dtype, [&]<class T>(T) HWY_ATTR {
    parallel_tasks(pool, args.n_sequences * args.n_heads, [&](int64_t task, int worker) HWY_ATTR {
      run(Head<T>(args, task),
          static_cast<float*>(pool.scratch(worker, scratch_floats * sizeof(float))));
    });
  });
}

void run_recurrent(const SsdScanArgs& args, ThreadPool& pool) {
  const auto floats = static_cast<size_t>(2 * round_up(args.state_size, kLanePadding) +
                                          round_up(args.head_dim, kLanePadding));
  for_each_head(args, pool, floats, [&]<class T>(const Head<T>& head, float* scratch) HWY_ATTR {
    recurrent(head, scratch);
  });
}

void run_chunked(const SsdScanArgs& args, ThreadPool& pool) {
  for_each_head(args, pool, Chunked<float>::scratch_floats(args),
                [&]<class T>(const Head<T>& head, float* scratch)
                    HWY_ATTR { Chunked<T>(head, scratch).run(); });
}

}  // namespace

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace lockstep
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lockstep {
HWY_EXPORT(run_recurrent);
HWY_EXPORT(run_chunked);

namespace ops {

void ssd_scan_recurrent(const SsdScanArgs& args, ThreadPool& pool) noexcept {
  HWY_DYNAMIC_DISPATCH(run_recurrent)(args, pool);
}

void ssd_scan_chunked(const SsdScanArgs& args, ThreadPool& pool) noexcept {
  HWY_DYNAMIC_DISPATCH(run_chunked)(args, pool);
}

}  // namespace ops
}  // namespace lockstep
#endif
