#include "ops/slice/slice.h"

namespace lockstep::ops {

void slice_ref(const SliceArgs& args, ThreadPool&) noexcept {
  const char* x = static_cast<const char*>(args.x) + args.begin_bytes;
  char* out = static_cast<char*>(args.out);
  for (int64_t r = 0; r < args.n_rows; ++r, x += args.row_bytes) {
    for (size_t i = 0; i < args.out_bytes; ++i) *out++ = x[i];
  }
}

}  // namespace lockstep::ops
