#include <cstring>

#include "ops/slice/slice.h"

namespace lockstep::ops {

void slice_cpu(const SliceArgs& args, ThreadPool& pool) noexcept {
  const char* x = static_cast<const char*>(args.x) + args.offset;
  char* out = static_cast<char*>(args.out);
  const auto grain = static_cast<int64_t>(1 + 65536 / (args.n_bytes + 1));
  pool.parallel_for(args.n_rows, grain, [&](int64_t begin, int64_t end, int) {
    for (auto r = static_cast<size_t>(begin); r < static_cast<size_t>(end); ++r) {
      std::memcpy(out + r * args.n_bytes, x + r * args.row_bytes, args.n_bytes);
    }
  });
}

}  // namespace lockstep::ops
