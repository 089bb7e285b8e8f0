#include "ops/attention/attention.h"

namespace lockstep::ops {

void attention_cpu(const AttentionArgs& args, ThreadPool& pool) noexcept {
  attention_ref(args, pool);
}

}  // namespace lockstep::ops
