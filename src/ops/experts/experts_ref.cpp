#include <algorithm>

#include "kernels/element.h"
#include "ops/experts/experts.h"

namespace lockstep::ops {
namespace {

/// Row `row` of a matrix against x[at .. at + n).
float dot(const void* x, DType x_dtype, int64_t at, const void* w, DType w_dtype, int64_t row,
          int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    sum += static_cast<double>(load_float(x, x_dtype, at + i)) *
           static_cast<double>(load_float(w, w_dtype, row * n + i));
  }
  return static_cast<float>(sum);
}

}  // namespace

void experts_ref(const ExpertsArgs& args, ThreadPool& pool) noexcept {
  const int64_t width = args.width, inner = args.inner;
  // hidden [inner] of dtype, then the token's sum [width]. `pool` is activation_ref's as well,
  // which takes no scratch of it.
  const auto bytes = static_cast<size_t>(inner + width) * sizeof(float);
  void* hidden = pool.scratch(0, bytes);
  float* sums = static_cast<float*>(hidden) + inner;
  for (int64_t t = 0; t < args.n_tokens; ++t) {
    std::fill_n(sums, width, 0.0f);
    for (int64_t s = t * args.k; s < (t + 1) * args.k; ++s) {
      const int64_t expert = local_expert(args, s);
      if (expert < 0) continue;
      const int64_t first = expert * 2 * inner;
      for (int64_t i = 0; i < inner; ++i) {
        store_float(
            hidden, args.dtype, i,
            dot(args.x, args.dtype, t * width, args.gate_up, args.gate_up_dtype, first + i, width));
      }
      activation_ref({hidden, hidden, inner, args.fn, args.dtype}, pool);
      for (int64_t i = 0; i < inner; ++i) {
        const float up = dot(args.x, args.dtype, t * width, args.gate_up, args.gate_up_dtype,
                             first + inner + i, width);
        store_float(hidden, args.dtype, i,
                    load_float(hidden, args.dtype, i) * round_to(args.dtype, up));
      }
      for (int64_t n = 0; n < width; ++n) {
        const float y =
            dot(hidden, args.dtype, 0, args.down, args.down_dtype, expert * width + n, inner);
        sums[n] += args.weights[s] * round_to(args.dtype, y);
      }
    }
    for (int64_t n = 0; n < width; ++n)
      store_float(args.out, args.out_dtype, t * width + n, sums[n]);
  }
}

}  // namespace lockstep::ops
