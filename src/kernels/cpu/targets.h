// Which instruction sets the kernels are compiled for: include before anything of Highway's.
// Kernels are compiled once for each of them in one file, and the best is chosen when running.
#pragma once

// A target costs compile time in every kernel; CPUs that stop at SSSE3 run the baseline.
#define HWY_DISABLED_TARGETS HWY_SSSE3

#include <cstdint>
#include <vector>

namespace lockstep {

/// The instruction sets (HWY_* bits) that this build and this CPU both have, best first.
std::vector<int64_t> cpu_targets();

/// "AVX3", "SSE4", ...
const char* cpu_target_name(int64_t target);

/// Makes kernels use `target` alone, until called again; 0 gives the free choice back. For tests:
/// no kernel may be running.
void set_cpu_target_for_test(int64_t target);

}  // namespace lockstep
