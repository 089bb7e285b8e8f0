#include "kernels/element.h"
#include "ops/linear/linear.h"

namespace lockstep::ops {

void linear_ref(const LinearArgs& args, ThreadPool&) noexcept {
  for (int64_t r = 0; r < args.n_rows; ++r) {
    for (int64_t n = 0; n < args.n; ++n) {
      double sum = 0;
      for (int64_t k = 0; k < args.k; ++k) {
        sum += static_cast<double>(load_float(args.x, args.dtype, r * args.k + k)) *
               static_cast<double>(load_float(args.weight, args.weight_dtype, n * args.k + k));
      }
      float value = static_cast<float>(sum);
      if (args.bias != nullptr) value += load_float(args.bias, args.bias_dtype, n);
      store_float(args.out, args.out_dtype, r * args.n + n, value);
    }
  }
}

}  // namespace lockstep::ops
