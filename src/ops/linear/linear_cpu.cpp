// Two ways to the same bits (see dot-inl.h):
//   few rows   weights are read once, as they lie, a few columns side by side: memory bound
//   many rows  panels of columns are packed to float32, in strips of k that stay in the cache
//
//   a panel strip, packed:  [group of kDotCols columns][step of k][column][lane]
#include "kernels/cpu/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/linear/linear_cpu.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>

#include "kernels/cpu/dot-inl.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd-inl.h"
#include "kernels/element.h"
#include "ops/linear/linear.h"

HWY_BEFORE_NAMESPACE();
namespace lockstep {
namespace HWY_NAMESPACE {
namespace {

using ops::LinearArgs;

constexpr int64_t kFewRows = 8;
constexpr int64_t kPanelColumns = 48;
constexpr int64_t kPanelRows = 128;
constexpr int64_t kStrip = 1024;  // of k

constexpr int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

/// out[r, n0 + c] for a block of sums.
template <class T>
HWY_INLINE void finish(const LinearArgs& args, int64_t row, int64_t n_rows, int64_t column,
                       int64_t n_columns, const float* sums, int64_t stride) {
  for (int64_t r = 0; r < n_rows; ++r) {
    for (int64_t c = 0; c < n_columns; ++c) {
      float value = sums[r * stride + c];
      if (args.bias != nullptr) value += load_float(args.bias, args.bias_dtype, column + c);
      const int64_t at = (row + r) * args.n + column + c;
      if (std::is_same_v<T, float> || args.out_dtype == DType::kFloat32) {
        static_cast<float*>(args.out)[at] = value;
      } else {
        static_cast<uint16_t*>(args.out)[at] = float_to_bfloat16(value);
      }
    }
  }
}

/// kCols columns for all of a few rows; x [n_rows, x_stride].
template <int kCols, class T, class TW>
HWY_INLINE void few_rows_columns(const LinearArgs& args, const float* x, size_t x_stride,
                                 int64_t column) {
  const TW* w = static_cast<const TW*>(args.weight) + column * args.k;
  const size_t k = static_cast<size_t>(args.k);
  float sums[4 * kCols];
  for (int64_t r = 0; r < args.n_rows; r += 4) {
    const int64_t n_rows = std::min<int64_t>(4, args.n_rows - r);
    const float* xr = x + static_cast<size_t>(r) * x_stride;
    if (r == 0) {
      dot_rows<kCols, true>(n_rows, xr, x_stride, w, k, k, sums);
    } else {
      dot_rows<kCols>(n_rows, xr, x_stride, w, k, k, sums);
    }
    finish<T>(args, r, n_rows, column, kCols, sums, kCols);
  }
}

template <class T, class TW>
void few_rows(const LinearArgs& args, ThreadPool& pool) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(F32()));
  const int64_t padded = round_up(args.k, lanes);
  const int64_t x_stride = padded + 16;  // rows a power of two apart would share cache sets
  constexpr int kCols = 4;
  const int64_t grain = 1 + 16384 / (args.k * args.n_rows + 1) / kCols;
  pool.parallel_for(
      (args.n + kCols - 1) / kCols, grain, [&](int64_t begin, int64_t end, int worker) HWY_ATTR {
        float* x = static_cast<float*>(
            pool.scratch(worker, static_cast<size_t>(args.n_rows * x_stride) * sizeof(float)));
        for (int64_t r = 0; r < args.n_rows; ++r) {
          widen(static_cast<const T*>(args.x) + r * args.k, static_cast<size_t>(args.k),
                x + r * x_stride, static_cast<size_t>(padded));
        }
        int64_t n = begin * kCols;
        const int64_t last = std::min(end * kCols, args.n);
        for (; n + kCols <= last; n += kCols) {
          few_rows_columns<kCols, T, TW>(args, x, static_cast<size_t>(x_stride), n);
        }
        for (; n < last; ++n) few_rows_columns<1, T, TW>(args, x, static_cast<size_t>(x_stride), n);
      });
}

/// One task of the many-rows way: kPanelRows rows by kPanelColumns columns.
template <class T, class TW>
class Panel {
 public:
  static size_t scratch_bytes(const LinearArgs& args) {
    const int64_t steps = kStrip / lanes();
    const int64_t sums = args.k <= kStrip ? 0 : kPanelRows / kDotRows * kGroups * kBlock * lanes();
    const int64_t rows = std::is_same_v<T, float> ? 0 : kDotRows * kStrip;
    const int64_t floats = kGroups * kDotCols * steps * lanes() + sums + rows;
    return static_cast<size_t>(floats) * sizeof(float);
  }

  Panel(const LinearArgs& args, int64_t row, int64_t column, float* scratch)
      : args_(args),
        row_(row),
        column_(column),
        n_rows_(std::min(kPanelRows, args.n_rows - row)),
        n_columns_(std::min(kPanelColumns, args.n - column)),
        weights_(scratch),
        rows_(weights_ + kGroups * kDotCols * kStrip),
        sums_(rows_ + (std::is_same_v<T, float> ? 0 : kDotRows * kStrip)) {}

  void run() {
    for (int64_t k0 = 0; k0 < args_.k; k0 += kStrip) {
      const int64_t width = std::min(kStrip, args_.k - k0);
      pack(k0, width);
      for (int64_t r = 0; r < n_rows_; r += kDotRows) strip(r, k0, width);
    }
  }

 private:
  static constexpr int64_t kGroups = kPanelColumns / kDotCols;
  static constexpr int64_t kBlock = kDotRows * kDotCols;
  static int64_t lanes() { return static_cast<int64_t>(hn::Lanes(F32())); }
  static_assert(kPanelColumns % kDotCols == 0);

  /// Weights [columns of the panel, k0 .. k0 + width) to packed float32, zeros past either end.
  void pack(int64_t k0, int64_t width) {
    const F32 d;
    const int64_t n = lanes();
    const int64_t steps = (width + n - 1) / n;
    for (int64_t c = 0; c < round_up(n_columns_, kDotCols); ++c) {
      float* to = weights_ + (c / kDotCols * steps * kDotCols + c % kDotCols) * n;
      const TW* from = static_cast<const TW*>(args_.weight) + (column_ + c) * args_.k + k0;
      for (int64_t i = 0; i < steps; ++i) {
        const int64_t left = width - i * n;
        VF v = hn::Zero(d);
        if (c < n_columns_) {
          v = left >= n ? load(d, from + i * n)
                        : load_n(d, from + i * n, static_cast<size_t>(left));
        }
        hn::StoreU(v, d, to + i * kDotCols * n);
      }
    }
  }

  /// Rows r .. r + kDotRows of the panel against the packed strip.
  void strip(int64_t r, int64_t k0, int64_t width) {
    const int64_t n_rows = std::min<int64_t>(kDotRows, n_rows_ - r);
    const int64_t n = lanes();
    const int64_t steps = (width + n - 1) / n;
    const float* xs[kDotRows];
    for (int64_t i = 0; i < kDotRows; ++i) {
      // A row too many repeats the last; its sums are dropped.
      const T* x =
          static_cast<const T*>(args_.x) + (row_ + r + std::min(i, n_rows - 1)) * args_.k + k0;
      if constexpr (std::is_same_v<T, float>) {
        xs[i] = x;
      } else {
        widen(x, static_cast<size_t>(width), rows_ + i * kStrip, static_cast<size_t>(steps * n));
        xs[i] = rows_ + i * kStrip;
      }
    }
    const bool is_first = k0 == 0, is_last = k0 + width == args_.k;
    for (int64_t c = 0; c < n_columns_; c += kDotCols) {
      const int64_t group = c / kDotCols;
      block(xs, weights_ + group * steps * kDotCols * n, width,
            sums_ + (r / kDotRows * kGroups + group) * kBlock * n, is_first, is_last, r, n_rows, c);
    }
  }

  HWY_INLINE void block(const float* const* xs, const float* w, int64_t width, float* saved,
                        bool is_first, bool is_last, int64_t r, int64_t n_rows, int64_t c) {
    const F32 d;
    const int64_t n = lanes();
    VF acc[kDotRows][kDotCols];
    for (int i = 0; i < kDotRows; ++i) {
      for (int j = 0; j < kDotCols; ++j) {
        acc[i][j] = is_first ? hn::Zero(d) : hn::Load(d, saved + (i * kDotCols + j) * n);
      }
    }
    const auto add = [&](const auto& load_x, int64_t k) HWY_ATTR {
      VF x[kDotRows];
      for (int i = 0; i < kDotRows; ++i) x[i] = load_x(xs[i] + k);
      for (int j = 0; j < kDotCols; ++j) {
        const VF wj = hn::Load(d, w + k * kDotCols + j * n);
        for (int i = 0; i < kDotRows; ++i) acc[i][j] = hn::MulAdd(x[i], wj, acc[i][j]);
      }
    };
    int64_t k = 0;
    for (; k + n <= width; k += n) {
      add([d](const float* p) HWY_ATTR { return hn::LoadU(d, p); }, k);
    }
    if (k < width) {
      add([d, left = static_cast<size_t>(width - k)](const float* p)
              HWY_ATTR { return load_n(d, p, left); },
          k);
    }
    if (!is_last) {
      for (int i = 0; i < kDotRows; ++i) {
        for (int j = 0; j < kDotCols; ++j) {
          hn::Store(acc[i][j], d, saved + (i * kDotCols + j) * n);
        }
      }
      return;
    }
    float sums[kBlock];
    for (int i = 0; i < kDotRows; ++i) {
      for (int j = 0; j < kDotCols; ++j) sums[i * kDotCols + j] = sum_lanes(acc[i][j]);
    }
    finish<T>(args_, row_ + r, n_rows, column_ + c, std::min<int64_t>(kDotCols, n_columns_ - c),
              sums, kDotCols);
  }

  const LinearArgs& args_;
  int64_t row_, column_, n_rows_, n_columns_;
  float* weights_;  // [kGroups][steps][kDotCols][lanes]
  float* rows_;     // [kDotRows, kStrip], x widened; unused for float32
  float* sums_;     // [row block][group][kDotRows][kDotCols][lanes], between strips
};

template <class T, class TW>
void many_rows(const LinearArgs& args, ThreadPool& pool) {
  const int64_t row_tasks = (args.n_rows + kPanelRows - 1) / kPanelRows;
  const int64_t column_tasks = (args.n + kPanelColumns - 1) / kPanelColumns;
  parallel_tasks(pool, row_tasks * column_tasks, [&](int64_t task, int worker) HWY_ATTR {
    float* scratch = static_cast<float*>(pool.scratch(worker, Panel<T, TW>::scratch_bytes(args)));
    Panel<T, TW>(args, task % row_tasks * kPanelRows, task / row_tasks * kPanelColumns, scratch)
        .run();
  });
}

void run_linear(const LinearArgs& args, ThreadPool& pool) {
  visit_activation_type(args.dtype, [&]<class T>(T) HWY_ATTR {
    visit_float_type(args.weight_dtype, [&]<class TW>(TW) HWY_ATTR {
      if (args.n_rows <= kFewRows || args.k == 0) {
        few_rows<T, TW>(args, pool);
      } else {
        many_rows<T, TW>(args, pool);
      }
    });
  });
}

}  // namespace

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace lockstep
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lockstep {
HWY_EXPORT(run_linear);

namespace ops {

void linear_cpu(const LinearArgs& args, ThreadPool& pool) noexcept {
  HWY_DYNAMIC_DISPATCH(run_linear)(args, pool);
}

}  // namespace ops
}  // namespace lockstep
#endif
