// What every benchmark program shares. main() is in main.cpp: it prints machine, commit and the
// machine's ceilings, and repeats each benchmark so that it ends in median, least and most.
#pragma once

#include <benchmark/benchmark.h>

#include "base/thread_pool.h"

namespace lockstep::bench {

/// The pool that the ceilings were measured with; kernels run on the same.
ThreadPool& pool();

/// Bytes a second read from memory, and float32 operations a second, as measured at start.
double machine_read_bandwidth();
double machine_fma_peak();

/// Repeats `registered` and reports median, min and max instead of every run.
void repeat(benchmark::internal::Benchmark* registered);

/// Counters that show `bytes` and `operations` of one iteration as GB/s and GFLOP/s, and as
/// fractions of what the machine reads and computes. Zero leaves a pair out.
void report_rates(benchmark::State& state, double bytes, double operations);

}  // namespace lockstep::bench
