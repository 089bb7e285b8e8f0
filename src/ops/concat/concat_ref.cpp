#include "ops/concat/concat.h"

namespace lockstep::ops {

void concat_ref(const ConcatArgs& args, ThreadPool&) noexcept {
  char* out = static_cast<char*>(args.out);
  const auto append = [&](const void* from, int64_t row, size_t bytes) {
    const char* x = static_cast<const char*>(from) + static_cast<size_t>(row) * bytes;
    for (size_t i = 0; i < bytes; ++i) *out++ = x[i];
  };
  for (int64_t t = 0; t < args.n_tokens; ++t) {
    for (int64_t h = 0; h < args.n_heads; ++h) {
      append(args.a, t * args.a_heads + (args.a_heads == 1 ? 0 : h), args.a_bytes);
      append(args.b, t * args.b_heads + (args.b_heads == 1 ? 0 : h), args.b_bytes);
    }
  }
}

}  // namespace lockstep::ops
