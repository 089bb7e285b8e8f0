// What every benchmark program shares. main() is in main.cpp: it prints machine, commit and the
// machine's ceilings, and repeats each benchmark so that it ends in median, least and most.
#pragma once

#include <benchmark/benchmark.h>

#include <chrono>

#include "base/thread_pool.h"

namespace lockstep::bench {

/// The pool that the ceilings were measured with; kernels run on the same.
ThreadPool& pool();

/// Bytes a second read from memory, and float32 operations a second, as measured at start.
double machine_read_bandwidth();
double machine_fma_peak();

/// Times `registered` by the clock on the wall, and adds least and most to the median and the rest.
void spread(benchmark::internal::Benchmark* registered);

/// Stands before a benchmark's loop; when it ends, `bytes` and `operations` of one iteration become
/// the counters GB/s and GFLOP/s, and of_read and of_fma: the fractions of what the machine reads
/// and computes. Zero leaves a pair out.
class RateReport {
 public:
  RateReport(benchmark::State& state, double bytes, double operations)
      : state_(state), bytes_(bytes), operations_(operations) {}
  RateReport(const RateReport&) = delete;
  RateReport& operator=(const RateReport&) = delete;
  ~RateReport();

 private:
  benchmark::State& state_;
  double bytes_, operations_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace lockstep::bench
