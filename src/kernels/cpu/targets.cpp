#include "kernels/cpu/targets.h"

#include <hwy/highway.h>

namespace lockstep {

std::vector<int64_t> cpu_targets() { return hwy::SupportedAndGeneratedTargets(); }

const char* cpu_target_name(int64_t target) { return hwy::TargetName(target); }

void set_cpu_target_for_test(int64_t target) {
  hwy::SetSupportedTargetsForTest(target);
  hwy::GetChosenTarget().DeInit();
}

}  // namespace lockstep
