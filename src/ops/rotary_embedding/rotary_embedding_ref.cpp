#include <cmath>

#include "ops/rotary_embedding/rotary_embedding.h"

namespace lockstep::ops {

void rotary_embedding_ref(const RotaryEmbeddingArgs& args, ThreadPool& pool) noexcept {
  const int64_t n = args.n_freq;
  auto* inv_freq = static_cast<float*>(pool.scratch(0, static_cast<size_t>(n) * sizeof(float)));
  for (int64_t t = 0; t < args.n_tokens; ++t) {
    frequencies_at(args, args.positions[t], inv_freq);
    for (int64_t i = 0; i < n; ++i) {
      const float angle = static_cast<float>(args.positions[t]) * inv_freq[i];
      const float cos = static_cast<float>(std::cos(static_cast<double>(angle)));
      const float sin = static_cast<float>(std::sin(static_cast<double>(angle)));
      const bool half = args.layout == RotaryLayout::kHalf;
      const int64_t row = t * 2 * n;
      const int64_t first = row + (half ? i : 2 * i);
      const int64_t second = row + (half ? i + n : 2 * i + 1);
      args.cos[first] = args.cos[second] = cos * args.attention_scaling;
      args.sin[first] = args.sin[second] = sin * args.attention_scaling;
    }
  }
}

}  // namespace lockstep::ops
