#include <cmath>

#include "kernels/element.h"
#include "ops/ssd_scan/ssd_scan.h"

namespace lockstep::ops {

void ssd_scan_ref(const SsdScanArgs& args, ThreadPool& pool) noexcept {
  ssd_deltas(args, pool);
  const int64_t n = args.state_size;
  for (int64_t s = 0; s < args.n_sequences; ++s) {
    for (int64_t t = args.row_offsets[s]; t < args.row_offsets[s + 1]; ++t) {
      for (int64_t h = 0; h < args.n_heads; ++h) {
        const double step = ssd_step(args, t, h);
        const double decay = std::exp(step * ssd_decay_rate(args, h));
        const double skip = load_float(args.d, args.d_dtype, h);
        const int64_t bc = (t * args.n_groups + h / (args.n_heads / args.n_groups)) * n;
        for (int64_t p = 0; p < args.head_dim; ++p) {
          const int64_t at = (t * args.n_heads + h) * args.head_dim + p;
          const double x = load_float(args.x, args.dtype, at);
          float* state = args.state + ((args.slots[s] * args.n_heads + h) * args.head_dim + p) * n;
          double sum = 0;
          for (int64_t i = 0; i < n; ++i) {
            const double added = step * x * load_float(args.b, args.dtype, bc + i);
            state[i] = static_cast<float>(state[i] * decay + added);
            sum += double{state[i]} * load_float(args.c, args.dtype, bc + i);
          }
          args.y[at] = static_cast<float>(sum + skip * x);
        }
      }
    }
  }
}

}  // namespace lockstep::ops
