// The machine's own ceilings, measured: what a kernel's GB/s and GFLOP/s are to be read against.
#pragma once

#include <string>

#include "base/thread_pool.h"

namespace lockstep::bench {

/// Bytes a second that all threads of `pool` together read from memory: the best of several
/// passes over a buffer larger than any cache.
double read_bandwidth(ThreadPool& pool);

/// float32 operations a second (a fused multiply-add counts two) of all threads of `pool`
/// together, on the widest vectors of this CPU, all operands in registers: the best of several.
double fma_peak(ThreadPool& pool);

/// "AMD EPYC, 2 threads".
std::string machine_name(const ThreadPool& pool);

}  // namespace lockstep::bench
