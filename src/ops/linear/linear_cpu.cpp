#include "ops/linear/linear.h"

namespace lockstep::ops {

void linear_cpu(const LinearArgs& args, ThreadPool& pool) noexcept { linear_ref(args, pool); }

}  // namespace lockstep::ops
