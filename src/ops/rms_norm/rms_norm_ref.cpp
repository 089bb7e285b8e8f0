#include <cmath>

#include "kernels/element.h"
#include "ops/rms_norm/rms_norm.h"

namespace lockstep::ops {

void rms_norm_ref(const RmsNormArgs& args, ThreadPool&) noexcept {
  for (int64_t r = 0; r < args.n_rows; ++r) {
    const int64_t row = r * args.width;
    double sum = 0;
    for (int64_t i = 0; i < args.width; ++i) {
      const double x = load_float(args.x, args.dtype, row + i);
      sum += x * x;
    }
    const float mean = static_cast<float>(sum / static_cast<double>(args.width));
    const float scale = 1.0f / std::sqrt(mean + args.eps);
    for (int64_t i = 0; i < args.width; ++i) {
      float y = load_float(args.x, args.dtype, row + i) * scale;
      if (args.rounding == NormRounding::kBeforeWeight) y = round_to(args.dtype, y);
      const float w = load_float(args.weight, args.weight_dtype, i) + args.weight_offset;
      store_float(args.out, args.dtype, row + i, y * w);
    }
  }
}

}  // namespace lockstep::ops
