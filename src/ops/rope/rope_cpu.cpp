#include "ops/rope/rope.h"

namespace lockstep::ops {

void rope_cpu(const RopeArgs& args, ThreadPool& pool) noexcept { rope_ref(args, pool); }

}  // namespace lockstep::ops
