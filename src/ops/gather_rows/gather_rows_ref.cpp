#include "ops/gather_rows/gather_rows.h"

namespace lockstep::ops {

void gather_rows_ref(const GatherRowsArgs& args, ThreadPool&) noexcept {
  const char* x = static_cast<const char*>(args.x);
  char* out = static_cast<char*>(args.out);
  for (int64_t r = 0; r < args.n_out; ++r) {
    for (size_t i = 0; i < args.row_bytes; ++i) {
      *out++ = x[static_cast<size_t>(args.rows[r]) * args.row_bytes + i];
    }
  }
}

}  // namespace lockstep::ops
