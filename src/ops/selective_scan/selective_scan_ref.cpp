#include <cmath>

#include "kernels/element.h"
#include "ops/selective_scan/selective_scan.h"

namespace lockstep::ops {
namespace {

double softplus(double z) { return z > 20 ? z : std::log1p(std::exp(z)); }

}  // namespace

void selective_scan_ref(const SelectiveScanArgs& args, ThreadPool&) noexcept {
  const int64_t n = args.state_size;
  for (int64_t s = 0; s < args.n_sequences; ++s) {
    for (int64_t t = args.row_offsets[s]; t < args.row_offsets[s + 1]; ++t) {
      for (int64_t c = 0; c < args.channels; ++c) {
        const int64_t at = t * args.channels + c;
        const double x = load_float(args.x, args.dtype, at);
        args.delta[at] = static_cast<float>(softplus(load_float(args.dt, args.dtype, at)));
        const double delta = args.delta[at];
        float* state = args.state + (args.slots[s] * args.channels + c) * n;
        double sum = 0;
        for (int64_t i = 0; i < n; ++i) {
          const double a_log = load_float(args.a_log, args.a_log_dtype, c * n + i);
          const double decay = std::exp(-std::exp(a_log) * delta);
          const double added = delta * x * load_float(args.b, args.dtype, t * n + i);
          state[i] = static_cast<float>(state[i] * decay + added);
          sum += double{state[i]} * load_float(args.c, args.dtype, t * n + i);
        }
        args.y[at] = static_cast<float>(sum + x * load_float(args.d, args.d_dtype, c));
      }
    }
  }
}

}  // namespace lockstep::ops
