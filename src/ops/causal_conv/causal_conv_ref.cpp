#include <cmath>

#include "kernels/element.h"
#include "ops/causal_conv/causal_conv.h"

namespace lockstep::ops {

void causal_conv_ref(const CausalConvArgs& args, ThreadPool&) noexcept {
  for (int64_t s = 0; s < args.n_sequences; ++s) {
    const int64_t begin = args.row_offsets[s], n = args.row_offsets[s + 1] - begin;
    for (int64_t c = 0; c < args.channels; ++c) {
      const int64_t state = (args.slots[s] * args.channels + c) * args.window;
      // Input t of the sequence's part of the step; before it, the state.
      const auto input = [&](int64_t t) {
        return t >= 0 ? load_float(args.x, args.dtype, (begin + t) * args.channels + c)
                      : load_float(args.state, args.dtype, state + args.window + t);
      };
      for (int64_t t = 0; t < n; ++t) {
        float sum = args.bias == nullptr ? 0.0f : load_float(args.bias, args.bias_dtype, c);
        for (int64_t k = 0; k < args.kernel; ++k) {
          const float w = load_float(args.weight, args.weight_dtype, c * args.kernel + k);
          sum += w * input(t - (args.kernel - 1) + k);
        }
        const double u = round_to(args.dtype, sum);
        const double y = args.silu ? u / (1 + std::exp(-u)) : u;
        store_float(args.out, args.dtype, (begin + t) * args.channels + c, static_cast<float>(y));
      }
      for (int64_t i = 0; i < args.window; ++i) {
        store_float(args.state, args.dtype, state + i, input(n - args.window + i));
      }
    }
  }
}

}  // namespace lockstep::ops
