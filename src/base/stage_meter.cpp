#include "base/stage_meter.h"

#include <sys/resource.h>

#include <charconv>
#include <fstream>
#include <string>

namespace lockstep {
namespace {

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// Since the last reset where the system takes one, else since the process began.
uint64_t peak_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (!line.starts_with("VmHWM:")) continue;
    const size_t digits = line.find_first_of("0123456789");
    uint64_t kib = 0;
    if (digits != std::string::npos) {
      std::from_chars(line.data() + digits, line.data() + line.size(), kib);
    }
    return kib << 10;
  }
  rusage usage{};
  return getrusage(RUSAGE_SELF, &usage) == 0 ? static_cast<uint64_t>(usage.ru_maxrss) << 10 : 0;
}

}  // namespace

StageMeter::StageMeter() : begin_(std::chrono::steady_clock::now()), cpu_begin_(cpu_seconds()) {
  std::ofstream("/proc/self/clear_refs") << "5";
}

StageCost StageMeter::cost() const {
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin_;
  return {taken.count(), cpu_seconds() - cpu_begin_, peak_bytes()};
}

}  // namespace lockstep
