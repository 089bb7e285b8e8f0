#include <cmath>

#include "ops/rotary_embedding/rotary_embedding.h"

namespace lockstep::ops {

// The C library's float64 functions, spread over threads: they round correctly to float32, and a
// step needs them once for all layers.
void rotary_embedding_cpu(const RotaryEmbeddingArgs& args, ThreadPool& pool) noexcept {
  const int64_t n = args.n_freq;
  const bool half = args.layout == RotaryLayout::kHalf;
  const int64_t grain = 1 + 1024 / (n + 1);
  pool.parallel_for(args.n_tokens, grain, [&](int64_t begin, int64_t end, int worker) {
    auto* inv_freq =
        static_cast<float*>(pool.scratch(worker, static_cast<size_t>(n) * sizeof(float)));
    for (int64_t t = begin; t < end; ++t) {
      frequencies_at(args, args.positions[t], inv_freq);
      for (int64_t i = 0; i < n; ++i) {
        const float angle = static_cast<float>(args.positions[t]) * inv_freq[i];
        const double wide = angle;
        const float cos = static_cast<float>(std::cos(wide)) * args.attention_scaling;
        const float sin = static_cast<float>(std::sin(wide)) * args.attention_scaling;
        const int64_t first = t * 2 * n + (half ? i : 2 * i);
        const int64_t second = first + (half ? n : 1);
        args.cos[first] = args.cos[second] = cos;
        args.sin[first] = args.sin[second] = sin;
      }
    }
  });
}

}  // namespace lockstep::ops
