#include <cstring>

#include "ops/slice/slice.h"

namespace lockstep::ops {

void slice_cpu(const SliceArgs& args, ThreadPool& pool) noexcept {
  size_t n_out = 0;
  for (size_t r = 0; r < args.bounds.size(); r += 2) {
    n_out += static_cast<size_t>(args.bounds[r + 1] - args.bounds[r]) * args.inner_bytes;
  }
  const size_t n_in = static_cast<size_t>(args.size) * args.inner_bytes;
  const auto grain = static_cast<int64_t>(1 + 65536 / (n_out + 1));
  pool.parallel_for(args.outer, grain, [&](int64_t begin, int64_t end, int) {
    for (auto o = static_cast<size_t>(begin); o < static_cast<size_t>(end); ++o) {
      const char* from = static_cast<const char*>(args.x) + o * n_in;
      char* to = static_cast<char*>(args.out) + o * n_out;
      for (size_t r = 0; r < args.bounds.size(); r += 2) {
        const size_t first = static_cast<size_t>(args.bounds[r]) * args.inner_bytes;
        const size_t n = static_cast<size_t>(args.bounds[r + 1]) * args.inner_bytes - first;
        std::memcpy(to, from + first, n);
        to += n;
      }
    }
  });
}

}  // namespace lockstep::ops
