#include <cstring>

#include "ops/gather_rows/gather_rows.h"

namespace lockstep::ops {

void gather_rows_cpu(const GatherRowsArgs& args, ThreadPool& pool) noexcept {
  const char* x = static_cast<const char*>(args.x);
  char* out = static_cast<char*>(args.out);
  const auto grain = static_cast<int64_t>(1 + 65536 / (args.row_bytes + 1));
  pool.parallel_for(args.n_out, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      std::memcpy(out + static_cast<size_t>(r) * args.row_bytes,
                  x + static_cast<size_t>(args.rows[r]) * args.row_bytes, args.row_bytes);
    }
  });
}

}  // namespace lockstep::ops
