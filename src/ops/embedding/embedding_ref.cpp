#include "kernels/element.h"
#include "ops/embedding/embedding.h"

namespace lockstep::ops {

void embedding_ref(const EmbeddingArgs& args, ThreadPool&) noexcept {
  for (int64_t t = 0; t < args.n_tokens; ++t) {
    for (int64_t i = 0; i < args.width; ++i) {
      const int64_t from = args.ids[t] * args.width + i;
      store_float(args.out, args.dtype, t * args.width + i,
                  load_float(args.weight, args.weight_dtype, from));
    }
  }
}

}  // namespace lockstep::ops
