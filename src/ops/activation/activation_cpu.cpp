#include "ops/activation/activation.h"

namespace lockstep::ops {

void activation_cpu(const ActivationArgs& args, ThreadPool& pool) noexcept {
  activation_ref(args, pool);
}

}  // namespace lockstep::ops
