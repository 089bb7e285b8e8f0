#include <cstring>

#include "ops/concat/concat.h"

namespace lockstep::ops {

void concat_cpu(const ConcatArgs& args, ThreadPool& pool) noexcept {
  const size_t width = args.a_bytes + args.b_bytes;
  const auto grain = static_cast<int64_t>(1 + 65536 / (width + 1));
  pool.parallel_for(args.n_tokens * args.n_heads, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t a = args.a_heads == 1 ? r / args.n_heads : r;
      const int64_t b = args.b_heads == 1 ? r / args.n_heads : r;
      char* out = static_cast<char*>(args.out) + static_cast<size_t>(r) * width;
      std::memcpy(out, static_cast<const char*>(args.a) + static_cast<size_t>(a) * args.a_bytes,
                  args.a_bytes);
      std::memcpy(out + args.a_bytes,
                  static_cast<const char*>(args.b) + static_cast<size_t>(b) * args.b_bytes,
                  args.b_bytes);
    }
  });
}

}  // namespace lockstep::ops
