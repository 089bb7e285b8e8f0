#include <algorithm>

#include "kernels/element.h"
#include "ops/experts/experts.h"

namespace lockstep::ops {
namespace {

/// A matrix of all experts, and its biases or nullptr.
struct Matrix {
  const void* w;
  DType dtype;
  const void* bias;
  DType bias_dtype;
};

/// Row `row` of a matrix against x[at .. at + n).
float dot(const void* x, DType x_dtype, int64_t at, const Matrix& m, int64_t row, int64_t n) {
  double sum = m.bias == nullptr ? 0 : load_float(m.bias, m.bias_dtype, row);
  for (int64_t i = 0; i < n; ++i) {
    sum += static_cast<double>(load_float(x, x_dtype, at + i)) *
           static_cast<double>(load_float(m.w, m.dtype, row * n + i));
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
  const Matrix gate_up{args.gate_up, args.gate_up_dtype, args.gate_up_bias,
                       args.gate_up_bias_dtype};
  const Matrix down{args.down, args.down_dtype, args.down_bias, args.down_bias_dtype};
  for (int64_t t = 0; t < args.n_tokens; ++t) {
    std::fill_n(sums, width, 0.0f);
    for (int64_t s = t * args.k; s < (t + 1) * args.k; ++s) {
      const int64_t expert = local_expert(args, s);
      if (expert < 0) continue;
      const int64_t first = expert * 2 * inner;
      for (int64_t i = 0; i < inner; ++i) {
        const int64_t row = first + gate_row(args, i);
        const float gate = dot(args.x, args.dtype, t * width, gate_up, row, width);
        store_float(hidden, args.dtype, i, gate > args.limit ? args.limit : gate);
      }
      activation_ref({hidden, hidden, inner, args.fn, args.dtype}, pool);
      for (int64_t i = 0; i < inner; ++i) {
        const int64_t row = first + gate_row(args, i) + up_distance(args);
        const float sum = dot(args.x, args.dtype, t * width, gate_up, row, width);
        const float up = std::clamp(round_to(args.dtype, sum), -args.limit, args.limit);
        store_float(hidden, args.dtype, i,
                    load_float(hidden, args.dtype, i) * (up + args.up_offset));
      }
      for (int64_t n = 0; n < width; ++n) {
        const float y = dot(hidden, args.dtype, 0, down, expert * width + n, inner);
        sums[n] += args.weights[s] * round_to(args.dtype, y);
      }
    }
    for (int64_t n = 0; n < width; ++n)
      store_float(args.out, args.out_dtype, t * width + n, sums[n]);
  }
}

}  // namespace lockstep::ops
