#include "ops/slice/slice.h"

namespace lockstep::ops {

void slice_ref(const SliceArgs& args, ThreadPool&) noexcept {
  const char* x = static_cast<const char*>(args.x);
  char* out = static_cast<char*>(args.out);
  for (int64_t r = 0; r < args.n_rows; ++r) {
    for (size_t i = 0; i < args.n_bytes; ++i) {
      *out++ = x[static_cast<size_t>(r) * args.row_bytes + args.offset + i];
    }
  }
}

}  // namespace lockstep::ops
