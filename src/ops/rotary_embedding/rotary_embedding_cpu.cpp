#include <cmath>

#include "ops/rotary_embedding/rotary_embedding.h"

namespace lockstep::ops {

// The C library's float64 functions, spread over threads: they round correctly to float32, and a
// step needs them once for all layers.
void rotary_embedding_cpu(const RotaryEmbeddingArgs& args, ThreadPool& pool) noexcept {
  const int64_t n = args.n_freq;
  const bool half = args.layout == RotaryLayout::kHalf;
  pool.parallel_for(args.n_tokens * n, 1024, [&](int64_t begin, int64_t end, int) {
    for (int64_t j = begin; j < end; ++j) {
      const int64_t t = j / n;
      const int64_t i = j % n;
      const float angle =
          static_cast<float>(args.positions[t]) * static_cast<float>(args.inv_freq[i]);
      const double wide = angle;
      const float cos = static_cast<float>(std::cos(wide)) * args.attention_scaling;
      const float sin = static_cast<float>(std::sin(wide)) * args.attention_scaling;
      const int64_t first = t * 2 * n + (half ? i : 2 * i);
      const int64_t second = first + (half ? n : 1);
      args.cos[first] = args.cos[second] = cos;
      args.sin[first] = args.sin[second] = sin;
    }
  });
}

}  // namespace lockstep::ops
