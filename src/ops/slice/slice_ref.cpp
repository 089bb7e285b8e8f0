#include "ops/slice/slice.h"

namespace lockstep::ops {

void slice_ref(const SliceArgs& args, ThreadPool&) noexcept {
  const char* x = static_cast<const char*>(args.x);
  char* out = static_cast<char*>(args.out);
  for (int64_t o = 0; o < args.outer; ++o) {
    for (size_t r = 0; r < args.bounds.size(); r += 2) {
      for (int64_t i = args.bounds[r]; i < args.bounds[r + 1]; ++i) {
        for (size_t b = 0; b < args.inner_bytes; ++b) {
          *out++ = x[static_cast<size_t>(o * args.size + i) * args.inner_bytes + b];
        }
      }
    }
  }
}

}  // namespace lockstep::ops
