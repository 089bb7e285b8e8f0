// What a stage of a command cost: time, processor time, and the most memory it held.
#pragma once

#include <chrono>
#include <cstdint>

namespace lockstep {

struct StageCost {
  double seconds = 0;
  double cpu_seconds = 0;   // of all threads of this process
  uint64_t peak_bytes = 0;  // resident at most, mapped files included; 0 where it is not known
};

/// From its construction on. One at a time: the peak is the process's, and begins anew.
class StageMeter {
 public:
  StageMeter();
  StageCost cost() const;

 private:
  std::chrono::steady_clock::time_point begin_;
  double cpu_begin_;
};

}  // namespace lockstep
