#include "kernels/element.h"
#include "ops/rope/rope.h"

namespace lockstep::ops {

void rope_ref(const RopeArgs& args, ThreadPool&) noexcept {
  const int64_t n = args.n_rotated;
  for (int64_t r = 0; r < args.n_tokens * args.n_heads; ++r) {
    const int64_t row = r * args.head_dim;
    const float* cos = args.cos + r / args.n_heads * n;
    const float* sin = args.sin + r / args.n_heads * n;
    for (int64_t i = 0; i < n; ++i) {
      const bool half = args.style == RopeStyle::kHalf;
      const bool is_first = half ? i < n / 2 : i % 2 == 0;
      const int64_t step = half ? n / 2 : 1;
      const int64_t partner = is_first ? i + step : i - step;
      const float x = load_float(args.x, args.dtype, row + i);
      const float other = load_float(args.x, args.dtype, row + partner);
      const float kept = x * cos[i];
      const float turned = (is_first ? -other : other) * sin[i];
      store_float(args.out, args.dtype, row + i, kept + turned);
    }
    for (int64_t i = n; i < args.head_dim; ++i) {
      store_float(args.out, args.dtype, row + i, load_float(args.x, args.dtype, row + i));
    }
  }
}

}  // namespace lockstep::ops
