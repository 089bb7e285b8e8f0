#include "ops/rms_norm/rms_norm.h"

namespace lockstep::ops {

void rms_norm_cpu(const RmsNormArgs& args, ThreadPool& pool) noexcept { rms_norm_ref(args, pool); }

}  // namespace lockstep::ops
