#include <cmath>

#include "kernels/element.h"
#include "ops/layer_norm/layer_norm.h"

namespace lockstep::ops {

void layer_norm_ref(const LayerNormArgs& args, ThreadPool&) noexcept {
  const auto width = static_cast<double>(args.width);
  for (int64_t r = 0; r < args.n_rows; ++r) {
    const int64_t row = r * args.width, weights = r % args.n_weights * args.width;
    double mean = 0, variance = 0;
    for (int64_t i = 0; i < args.width; ++i) {
      mean += static_cast<double>(load_float(args.x, args.dtype, row + i)) / width;
    }
    for (int64_t i = 0; i < args.width; ++i) {
      const double centred = static_cast<double>(load_float(args.x, args.dtype, row + i)) - mean;
      variance += centred * centred / width;
    }
    const float scale = 1.0f / std::sqrt(static_cast<float>(variance) + args.eps);
    for (int64_t i = 0; i < args.width; ++i) {
      const float centred = load_float(args.x, args.dtype, row + i) - static_cast<float>(mean);
      float y = centred * scale * load_float(args.weight, args.weight_dtype, weights + i);
      if (args.bias != nullptr) y += load_float(args.bias, args.bias_dtype, i);
      store_float(args.out, args.dtype, row + i, y);
    }
  }
}

}  // namespace lockstep::ops
