#include "kernels/element.h"
#include "ops/embedding/embedding.h"

namespace lockstep::ops {

void embedding_ref(const EmbeddingArgs& args, ThreadPool&) noexcept {
  for (int64_t t = 0; t < args.n_tokens; ++t) {
    const int64_t row = weight_row(args, t);
    for (int64_t i = 0; i < args.width; ++i) {
      const float value =
          row < 0 ? 0.0f : load_float(args.weight, args.weight_dtype, row * args.width + i);
      store_float(args.out, args.dtype, t * args.width + i, value);
    }
  }
}

}  // namespace lockstep::ops
