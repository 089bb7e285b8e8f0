#include "ops/elementwise/elementwise.h"

namespace lockstep::ops {

void elementwise_cpu(const ElementwiseArgs& args, ThreadPool& pool) noexcept {
  elementwise_ref(args, pool);
}

}  // namespace lockstep::ops
