// Three passes over buffers of n_tokens * k rows, in the order of the slots they came from:
//
//   gate, up = gate_up x    tasks: some rows of one expert, some columns
//   y = down (fn(gate) up)  the same
//   out = sum over slots    tasks: tokens
//
// Rows are gathered by expert, so that an expert's weights are read once for all of its rows. Every
// sum is one of dot-inl.h, and a token's slots are added in their order: the bits of a row do not
// depend on the others.
#include "kernels/cpu/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/experts/experts_cpu.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <limits>

#include "kernels/cpu/dot-inl.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd-inl.h"
#include "kernels/element.h"
#include "ops/experts/experts.h"

HWY_BEFORE_NAMESPACE();
namespace lockstep {
namespace HWY_NAMESPACE {
namespace {

using ops::ExpertsArgs;

constexpr int64_t kTaskRows = 32;
constexpr int64_t kTaskColumns = 64;
constexpr int kCols = 4;
constexpr float kNoLimit = std::numeric_limits<float>::infinity();

constexpr int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

/// Up to kTaskRows slots that go to one expert.
struct Group {
  int32_t expert, n_slots;
  const int32_t* slots;  // [n_slots]
};

/// The buffers of a call, in the pool's shared scratch.
template <class T>
struct Buffers {
  T* gate;         // [n_slots, inner]
  T* up;           // [n_slots, inner]
  T* y;            // [n_slots, width]
  Group* groups;   // [n_groups]
  int32_t* slots;  // [n_slots], by expert, in the order of slots
  int32_t* ends;   // [n_experts]
  int64_t n_groups = 0;

  Buffers(const ExpertsArgs& args, ThreadPool& pool) {
    const int64_t n = args.n_tokens * args.k;
    const auto rows = static_cast<size_t>(round_up(n, 32));
    const auto inner = static_cast<size_t>(args.inner), width = static_cast<size_t>(args.width);
    const auto n_experts = static_cast<size_t>(args.n_experts);
    const size_t n_blocks = rows / kTaskRows + std::min(rows, n_experts);
    char* at = static_cast<char*>(pool.shared_scratch(rows * (2 * inner + width) * sizeof(T) +
                                                      n_blocks * sizeof(Group) +
                                                      (rows + n_experts) * sizeof(int32_t)));
    gate = reinterpret_cast<T*>(at);
    up = gate + rows * inner;
    y = up + rows * inner;
    groups = reinterpret_cast<Group*>(y + rows * width);
    slots = reinterpret_cast<int32_t*>(groups + n_blocks);
    ends = slots + rows;
    sort_slots(args, n);
  }

  void sort_slots(const ExpertsArgs& args, int64_t n) {
    std::fill_n(ends, args.n_experts, 0);
    for (int64_t i = 0; i < n; ++i) {
      if (const int64_t e = ops::local_expert(args, i); e >= 0) ++ends[e];
    }
    int32_t begin = 0;
    for (int32_t e = 0; e < args.n_experts; ++e) {
      const int32_t count = ends[e];
      for (int32_t done = 0; done < count; done += kTaskRows) {
        groups[n_groups++] = {e, std::min<int32_t>(kTaskRows, count - done), slots + begin + done};
      }
      ends[e] = begin;  // where the next slot of e goes
      begin += count;
    }
    for (int64_t i = 0; i < n; ++i) {
      const int64_t e = ops::local_expert(args, i);
      if (e >= 0) slots[ends[e]++] = static_cast<int32_t>(i);
    }
  }
};

/// Columns of a product: rows of a matrix `stride` apart, each with a bias or none.
template <class TW>
struct Columns {
  const TW* w;
  int64_t stride;
  const void* bias;  // of the first column, or nullptr
  int64_t bias_step;
  DType bias_dtype;

  float bias_of(int64_t c) const {
    return bias == nullptr ? 0.0f : load_float(bias, bias_dtype, c * bias_step);
  }
};

/// Row `row` of `matrix` and the rows `step` further each.
template <class TW>
Columns<TW> columns_at(const void* matrix, int64_t row, int64_t step, int64_t k, const void* bias,
                       DType bias_dtype) {
  return {static_cast<const TW*>(matrix) + row * k, step * k,
          bias == nullptr ? nullptr : element(bias, bias_dtype, row), step, bias_dtype};
}

/// out[slot, columns] = rows . w[columns, :] + bias, at most `limit`, one rounding; rows
/// [n_slots, stride] of float32.
template <class T, class TW>
void multiply(const Group& group, const float* rows, int64_t stride, const Columns<TW>& columns,
              int64_t k, int64_t n_columns, float limit, T* out, int64_t out_stride) {
  const F32 d;
  const auto block = [&]<int kN>(std::integral_constant<int, kN>, int64_t c) HWY_ATTR {
    float sums[4 * kN], biases[kN];
    for (int j = 0; j < kN; ++j) biases[j] = columns.bias_of(c + j);
    for (int64_t r = 0; r < group.n_slots; r += 4) {
      const int64_t n = std::min<int64_t>(4, group.n_slots - r);
      const float* x = rows + r * stride;
      const TW* w = columns.w + c * columns.stride;
      const auto x_stride = static_cast<size_t>(stride), width = static_cast<size_t>(k);
      const auto w_stride = static_cast<size_t>(columns.stride);
      if (r == 0) {
        dot_rows<kN, true>(n, x, x_stride, w, w_stride, width, sums);
      } else {
        dot_rows<kN>(n, x, x_stride, w, w_stride, width, sums);
      }
      for (int64_t i = 0; i < n; ++i) {
        T* to = out + group.slots[r + i] * out_stride + c;
        for (int j = 0; j < kN; ++j) {
          const float sum = sums[i * kN + j] + biases[j];
          store_n(d, hn::Set(d, sum > limit ? limit : sum), to + j, 1);
        }
      }
    }
  };
  int64_t c = 0;
  for (; c + kCols <= n_columns; c += kCols) block(std::integral_constant<int, kCols>(), c);
  for (; c < n_columns; ++c) block(std::integral_constant<int, 1>(), c);
}

/// Calls body(group, first column, columns, rows) for every group and block of columns; fill(slot,
/// to) has written the rows of the group, `k` wide.
template <class T, class Fill, class Body>
void for_each_block(const Buffers<T>& buffers, ThreadPool& pool, int64_t k, int64_t n_columns,
                    const Fill& fill, const Body& body) {
  const int64_t stride = round_up(k, static_cast<int64_t>(hn::Lanes(F32()))) + 16;
  const int64_t n_blocks = (n_columns + kTaskColumns - 1) / kTaskColumns;
  parallel_tasks(pool, buffers.n_groups * n_blocks, [&](int64_t task, int worker) HWY_ATTR {
    const Group& group = buffers.groups[task / n_blocks];
    const int64_t column = task % n_blocks * kTaskColumns;
    float* rows = static_cast<float*>(
        pool.scratch(worker, static_cast<size_t>(kTaskRows * stride) * sizeof(float)));
    for (int64_t i = 0; i < group.n_slots; ++i) {
      fill(group.slots[i], rows + i * stride);
      std::fill(rows + i * stride + k, rows + (i + 1) * stride, 0.0f);
    }
    body(group, column, std::min(kTaskColumns, n_columns - column), rows, stride);
  });
}

template <class T, class TW>
void gate_and_up(const ExpertsArgs& args, const Buffers<T>& buffers, ThreadPool& pool) {
  const int64_t width = args.width, inner = args.inner;
  const auto fill = [&](int32_t slot, float* to) HWY_ATTR {
    const auto n = static_cast<size_t>(width);
    widen(static_cast<const T*>(args.x) + slot / args.k * width, n, to, n);
  };
  for_each_block<T>(
      buffers, pool, width, inner, fill,
      [&](const Group& group, int64_t column, int64_t n, const float* rows, int64_t stride)
          HWY_ATTR {
            const auto columns = [&](int64_t offset) HWY_ATTR {
              const int64_t row = group.expert * 2 * inner + gate_row(args, column) + offset;
              return columns_at<TW>(args.gate_up, row, args.interleaved ? 2 : 1, width,
                                    args.gate_up_bias, args.gate_up_bias_dtype);
            };
            multiply(group, rows, stride, columns(0), width, n, args.limit, buffers.gate + column,
                     inner);
            multiply(group, rows, stride, columns(up_distance(args)), width, n, args.limit,
                     buffers.up + column, inner);
          });
}

template <class T, class TW>
void down(const ExpertsArgs& args, const Buffers<T>& buffers, ThreadPool& pool) {
  const int64_t width = args.width, inner = args.inner;
  const VF lowest = hn::Set(F32(), -args.limit), offset = hn::Set(F32(), args.up_offset);
  const auto fill = [&](int32_t slot, float* to) HWY_ATTR {
    map(
        static_cast<size_t>(inner), to,
        [lowest, offset](VF gate, VF up) HWY_ATTR {
          const VF bounded = hn::IfThenElse(hn::Lt(up, lowest), lowest, up);
          return round_as(F32(), hn::Mul(gate, hn::Add(bounded, offset)), T());
        },
        buffers.gate + slot * inner, buffers.up + slot * inner);
  };
  for_each_block<T>(
      buffers, pool, inner, width, fill,
      [&](const Group& group, int64_t column, int64_t n, const float* rows, int64_t stride)
          HWY_ATTR {
            const auto w = columns_at<TW>(args.down, group.expert * width + column, 1, inner,
                                          args.down_bias, args.down_bias_dtype);
            multiply(group, rows, stride, w, inner, n, kNoLimit, buffers.y + column, width);
          });
}

template <class T>
void sum_slots(const ExpertsArgs& args, const Buffers<T>& buffers, ThreadPool& pool) {
  const auto width = static_cast<size_t>(args.width);
  const int64_t grain = 1 + 8192 / (args.width * args.k + 1);
  pool.parallel_for(args.n_tokens, grain, [&](int64_t begin, int64_t end, int worker) HWY_ATTR {
    float* sums = static_cast<float*>(pool.scratch(worker, width * sizeof(float)));
    for (int64_t t = begin; t < end; ++t) {
      std::fill_n(sums, width, 0.0f);
      for (int64_t s = t * args.k; s < (t + 1) * args.k; ++s) {
        if (ops::local_expert(args, s) < 0) continue;
        const VF weight = hn::Set(F32(), args.weights[s]);
        map(
            width, sums,
            [weight](VF sum, VF y) HWY_ATTR { return hn::Add(sum, hn::Mul(weight, y)); },
            static_cast<const float*>(sums), buffers.y + s * args.width);
      }
      if (args.out_dtype == DType::kFloat32) {
        std::copy_n(sums, width, static_cast<float*>(args.out) + t * args.width);
        continue;
      }
      map(
          width, static_cast<T*>(args.out) + t * args.width, [](VF v) HWY_ATTR { return v; },
          static_cast<const float*>(sums));
    }
  });
}

void run_experts(const ExpertsArgs& args, ThreadPool& pool) {
  visit_activation_type(args.dtype, [&]<class T>(T) HWY_ATTR {
    const Buffers<T> buffers(args, pool);
    visit_float_type(args.gate_up_dtype,
                     [&]<class TW>(TW) HWY_ATTR { gate_and_up<T, TW>(args, buffers, pool); });
    ops::activation_cpu(
        {buffers.gate, buffers.gate, args.n_tokens * args.k * args.inner, args.fn, args.dtype},
        pool);
    visit_float_type(args.down_dtype,
                     [&]<class TW>(TW) HWY_ATTR { down<T, TW>(args, buffers, pool); });
    sum_slots<T>(args, buffers, pool);
  });
}

}  // namespace

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace lockstep
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lockstep {
HWY_EXPORT(run_experts);

namespace ops {

void experts_cpu(const ExpertsArgs& args, ThreadPool& pool) noexcept {
  HWY_DYNAMIC_DISPATCH(run_experts)(args, pool);
}

}  // namespace ops
}  // namespace lockstep
#endif
