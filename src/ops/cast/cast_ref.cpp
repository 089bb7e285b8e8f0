#include "kernels/element.h"
#include "ops/cast/cast.h"

namespace lockstep::ops {

void cast_ref(const CastArgs& args, ThreadPool&) noexcept {
  for (int64_t i = 0; i < args.n; ++i) {
    store_float(args.out, args.out_dtype, i, load_float(args.x, args.dtype, i));
  }
}

}  // namespace lockstep::ops
