// How much memory this machine has for programs.
#pragma once

#include <cstdint>

namespace lockstep {

/// What the system could give to programs now, in bytes; 0 where it does not say.
uint64_t available_memory();
/// What this process could have at most, in bytes: the machine's memory, or the limit of its
/// control group where that is lower; 0 where the system does not say.
uint64_t total_memory();

}  // namespace lockstep
