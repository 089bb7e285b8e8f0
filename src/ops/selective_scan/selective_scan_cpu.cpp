// A task is a block of channels of one sequence, token by token, so that the block's states and
// rates stay in the nearest cache.
#include "kernels/cpu/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/selective_scan/selective_scan_cpu.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>

#include "hwy/contrib/math/math-inl.h"
#include "kernels/cpu/dot-inl.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd-inl.h"
#include "kernels/element.h"
#include "ops/selective_scan/selective_scan.h"

HWY_BEFORE_NAMESPACE();
namespace lockstep {
namespace HWY_NAMESPACE {
namespace {

using ops::SelectiveScanArgs;

constexpr int64_t kBlock = 64;  // channels of a task

template <class T>
void write_deltas(const SelectiveScanArgs& args, ThreadPool& pool) {
  const F32 d;
  const VF limit = hn::Set(d, 20.0f);
  const auto* dt = static_cast<const T*>(args.dt);
  pool.parallel_for(args.n_tokens * args.channels, 4096,
                    [&](int64_t begin, int64_t end, int) HWY_ATTR {
                      map(
                          static_cast<size_t>(end - begin), args.delta + begin,
                          [&](VF z) HWY_ATTR {
                            const VF low = hn::Log1p(d, hn::Exp(d, hn::Min(z, limit)));
                            return hn::IfThenElse(hn::Gt(z, limit), z, low);
                          },
                          dt + begin);
                    });
}

/// kRows channels by one token. `delta` and `x` are of the channels, `b` and `c` of the token.
template <int kRows, class T>
HWY_INLINE void advance(const SelectiveScanArgs& args, const float* rates, float* state,
                        const float* delta, const T* x, const T* b, const T* c, int64_t channel,
                        float* y) {
  const F32 d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t n = args.state_size;
  float values[kRows];
  VF step[kRows], input[kRows], sum[kRows];
  for (int r = 0; r < kRows; ++r) {
    values[r] = load_float(x, args.dtype, r);
    step[r] = hn::Set(d, delta[r]);
    input[r] = hn::Set(d, delta[r] * values[r]);
    sum[r] = hn::Zero(d);
  }
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const VF bi = load(d, b + i), ci = load(d, c + i);
    for (int r = 0; r < kRows; ++r) {
      const VF decay = hn::Exp(d, hn::Mul(step[r], hn::LoadU(d, rates + r * n + i)));
      const VF s = hn::MulAdd(hn::LoadU(d, state + r * n + i), decay, hn::Mul(input[r], bi));
      hn::StoreU(s, d, state + r * n + i);
      sum[r] = hn::MulAdd(s, ci, sum[r]);
    }
  }
  if (i < n) {
    const auto left = static_cast<size_t>(n - i);
    const VF bi = load_n(d, b + i, left), ci = load_n(d, c + i, left);
    for (int r = 0; r < kRows; ++r) {
      const VF decay = hn::Exp(d, hn::Mul(step[r], load_n(d, rates + r * n + i, left)));
      const VF before = load_n(d, state + r * n + i, left);
      const VF s = hn::MulAdd(before, decay, hn::Mul(input[r], bi));
      store_n(d, s, state + r * n + i, left);
      sum[r] = hn::MulAdd(s, ci, sum[r]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    const float skip = load_float(args.d, args.d_dtype, channel + r);
    y[r] = sum_lanes(sum[r]) + skip * values[r];
  }
}

/// -exp(A_log) of channels first to last.
void write_rates(const SelectiveScanArgs& args, int64_t first, int64_t last, float* rates) {
  const F32 d;
  visit_float_type(args.a_log_dtype, [&]<class W>(W) HWY_ATTR {
    map(
        static_cast<size_t>((last - first) * args.state_size), rates,
        [&](VF a) HWY_ATTR { return hn::Neg(hn::Exp(d, a)); },
        static_cast<const W*>(args.a_log) + first * args.state_size);
  });
}

template <class T>
void scan_block(const SelectiveScanArgs& args, int64_t sequence, int64_t first, int64_t last,
                float* rates) {
  const int64_t n = args.state_size;
  write_rates(args, first, last, rates);
  float* states = args.state + (args.slots[sequence] * args.channels + first) * n;
  for (int64_t t = args.row_offsets[sequence]; t < args.row_offsets[sequence + 1]; ++t) {
    const T* b = static_cast<const T*>(args.b) + t * n;
    const T* c = static_cast<const T*>(args.c) + t * n;
    const auto at = [&](int64_t channel) { return t * args.channels + channel; };
    const auto run = [&]<int kRows>(int64_t channel) HWY_ATTR {
      const int64_t offset = (channel - first) * n;
      advance<kRows>(args, rates + offset, states + offset, args.delta + at(channel),
                     static_cast<const T*>(args.x) + at(channel), b, c, channel,
                     args.y + at(channel));
    };
    int64_t channel = first;
    for (; channel + 4 <= last; channel += 4) run.template operator()<4>(channel);
    for (; channel < last; ++channel) run.template operator()<1>(channel);
  }
}

void run_scan(const SelectiveScanArgs& args, ThreadPool& pool) {
  const int64_t n_blocks = (args.channels + kBlock - 1) / kBlock;
  const auto bytes = static_cast<size_t>(kBlock * args.state_size) * sizeof(float);
  visit_activation_type(args.dtype, [&]<class T>(T) HWY_ATTR {
    write_deltas<T>(args, pool);
    parallel_tasks(pool, args.n_sequences * n_blocks, [&](int64_t task, int worker) HWY_ATTR {
      const int64_t first = task % n_blocks * kBlock;
      scan_block<T>(args, task / n_blocks, first, std::min(first + kBlock, args.channels),
                    static_cast<float*>(pool.scratch(worker, bytes)));
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
HWY_EXPORT(run_scan);

namespace ops {

void selective_scan_cpu(const SelectiveScanArgs& args, ThreadPool& pool) noexcept {
  HWY_DYNAMIC_DISPATCH(run_scan)(args, pool);
}

}  // namespace ops
}  // namespace lockstep
#endif
