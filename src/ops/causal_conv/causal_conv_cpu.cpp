// A task is a block of channels of all sequences, so that nobody else touches its part of the
// states. The newest `kernel` inputs stand in a ring of rows, widened to float32.
#include "kernels/cpu/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/causal_conv/causal_conv_cpu.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <type_traits>

#include "hwy/contrib/math/math-inl.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd-inl.h"
#include "kernels/element.h"
#include "ops/causal_conv/causal_conv.h"

HWY_BEFORE_NAMESPACE();
namespace lockstep {
namespace HWY_NAMESPACE {
namespace {

using ops::CausalConvArgs;

constexpr int64_t kBlock = 64;  // channels: a multiple of every vector's lanes

/// v / (1 + exp(-v)), within 4 ulp; 0 where exp overflows, NaN of NaN.
HWY_INLINE VF silu(VF v) {
  const F32 d;
  const VF e = hn::Exp(d, hn::Min(hn::Neg(v), hn::Set(d, 88.0f)));
  return hn::IfThenElse(hn::IsNaN(v), v, hn::Div(v, hn::Add(hn::Set(d, 1.0f), e)));
}

template <class T>
class Block {
 public:
  static size_t scratch_bytes(const CausalConvArgs& args) {
    return static_cast<size_t>((2 * args.kernel + 1) * kBlock) * sizeof(float);
  }

  Block(const CausalConvArgs& args, int64_t channel, float* scratch)
      : args_(args),
        channel_(channel),
        n_(std::min(kBlock, args.channels - channel)),
        weights_(scratch),
        bias_(weights_ + args.kernel * kBlock),
        ring_(bias_ + kBlock) {
    std::fill_n(scratch, (2 * args.kernel + 1) * kBlock, 0.0f);
    for (int64_t c = 0; c < n_; ++c) {
      for (int64_t k = 0; k < args.kernel; ++k) {
        weights_[k * kBlock + c] =
            load_float(args.weight, args.weight_dtype, (channel + c) * args.kernel + k);
      }
      if (args.bias != nullptr) bias_[c] = load_float(args.bias, args.bias_dtype, channel + c);
    }
  }

  void run(int64_t sequence) {
    const int64_t begin = args_.row_offsets[sequence];
    const int64_t n_tokens = args_.row_offsets[sequence + 1] - begin;
    if (n_tokens == 0) return;
    T* state = static_cast<T*>(args_.state) +
               (args_.slots[sequence] * args_.channels + channel_) * args_.window;
    for (int64_t i = 0; i < args_.window; ++i) {
      float* row = ring_row(i - args_.window);
      for (int64_t c = 0; c < n_; ++c) {
        row[c] = load_float(state, dtype_of(), c * args_.window + i);
      }
    }
    for (int64_t t = 0; t < n_tokens; ++t) {
      const int64_t at = (begin + t) * args_.channels + channel_;
      widen(static_cast<const T*>(args_.x) + at, static_cast<size_t>(n_), ring_row(t),
            static_cast<size_t>(kBlock));
      convolve(t, static_cast<T*>(args_.out) + at);
    }
    for (int64_t i = 0; i < args_.window; ++i) {
      const float* row = ring_row(n_tokens - args_.window + i);
      for (int64_t c = 0; c < n_; ++c) {
        store_float(state, dtype_of(), c * args_.window + i, row[c]);
      }
    }
  }

 private:
  static constexpr DType dtype_of() {
    return std::is_same_v<T, float> ? DType::kFloat32 : DType::kBFloat16;
  }
  /// Input t of the step, t >= -kernel.
  float* ring_row(int64_t t) const { return ring_ + (t + args_.kernel) % args_.kernel * kBlock; }

  void convolve(int64_t t, T* out) const {
    const F32 d;
    const auto lanes = static_cast<int64_t>(hn::Lanes(d));
    for (int64_t c = 0; c < n_; c += lanes) {
      VF sum = hn::Load(d, bias_ + c);
      const float* row = ring_row(t - (args_.kernel - 1));
      for (int64_t k = 0; k < args_.kernel; ++k) {
        const VF w = hn::Load(d, weights_ + k * kBlock + c);
        sum = hn::MulAdd(w, hn::Load(d, row + c), sum);
        row += kBlock;
        if (row == ring_ + args_.kernel * kBlock) row = ring_;
      }
      const VF y = args_.silu ? silu(round_as(d, sum, T{})) : sum;
      if (n_ - c >= lanes) {
        store(d, y, out + c);
      } else {
        store_n(d, y, out + c, static_cast<size_t>(n_ - c));
      }
    }
  }

  const CausalConvArgs& args_;
  int64_t channel_, n_;
  float* weights_;  // [kernel, kBlock]
  float* bias_;     // [kBlock]
  float* ring_;     // [kernel, kBlock]
};

void run_causal_conv(const CausalConvArgs& args, ThreadPool& pool) {
  visit_activation_type(args.dtype, [&]<class T>(T) HWY_ATTR {
    const int64_t n_blocks = (args.channels + kBlock - 1) / kBlock;
    parallel_tasks(pool, n_blocks, [&](int64_t task, int worker) HWY_ATTR {
      auto* scratch = static_cast<float*>(pool.scratch(worker, Block<T>::scratch_bytes(args)));
      Block<T> block(args, task * kBlock, scratch);
      for (int64_t s = 0; s < args.n_sequences; ++s) block.run(s);
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
HWY_EXPORT(run_causal_conv);

namespace ops {

void causal_conv_cpu(const CausalConvArgs& args, ThreadPool& pool) noexcept {
  HWY_DYNAMIC_DISPATCH(run_causal_conv)(args, pool);
}

}  // namespace ops
}  // namespace lockstep
#endif
