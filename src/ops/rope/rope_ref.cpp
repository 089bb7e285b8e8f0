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
      const bool stays =
          args.style == RopeStyle::kInterleaved || args.style == RopeStyle::kInterleavedByHalf;
      const bool is_first = stays ? i % 2 == 0 : i < n / 2;
      int64_t from = i, partner = is_first ? i + n / 2 : i - n / 2;
      if (stays) partner = is_first ? i + 1 : i - 1;
      if (args.style == RopeStyle::kInterleavedToHalf) {
        from = is_first ? 2 * i : 2 * (i - n / 2) + 1;
        partner = is_first ? from + 1 : from - 1;
      }
      const float x = load_float(args.x, args.dtype, row + from);
      const float other = load_float(args.x, args.dtype, row + partner);
      const int64_t table = args.style == RopeStyle::kInterleavedByHalf ? i / 2 : i;
      const float kept = x * cos[table];
      const float turned = (is_first ? -other : other) * sin[table];
      store_float(args.out, args.dtype, row + i, kept + turned);
    }
    for (int64_t i = n; i < args.head_dim; ++i) {
      store_float(args.out, args.dtype, row + i, load_float(args.x, args.dtype, row + i));
    }
  }
}

}  // namespace lockstep::ops
