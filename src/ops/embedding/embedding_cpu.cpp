#include "ops/embedding/embedding.h"

namespace lockstep::ops {

void embedding_cpu(const EmbeddingArgs& args, ThreadPool& pool) noexcept {
  embedding_ref(args, pool);
}

}  // namespace lockstep::ops
