#include "kernels/element.h"
#include "ops/elementwise/elementwise.h"

namespace lockstep::ops {
namespace {

float apply(Elementwise fn, float a, float b) {
  switch (fn) {
    case Elementwise::kAdd:
      return a + b;
    case Elementwise::kSub:
      return a - b;
    default:
      return a * b;
  }
}

}  // namespace

void elementwise_ref(const ElementwiseArgs& args, ThreadPool&) noexcept {
  for (int64_t i = 0; i < args.n; ++i) {
    const float b =
        args.b == nullptr ? args.factor : load_float(args.b, args.dtype, i / args.b_span);
    store_float(args.out, args.dtype, i, apply(args.fn, load_float(args.a, args.dtype, i), b));
  }
}

}  // namespace lockstep::ops
