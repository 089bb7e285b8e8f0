#include "base/machine_memory.h"

#include <algorithm>
#include <fstream>
#include <string>
#include <string_view>

namespace lockstep {
namespace {

// A line of /proc/meminfo, which counts in KiB.
uint64_t meminfo(std::string_view wanted) {
  std::ifstream file("/proc/meminfo");
  for (std::string key, rest; file >> key;) {
    uint64_t kib = 0;
    file >> kib;
    if (key == wanted) return kib * 1024;
    std::getline(file, rest);
  }
  return 0;
}

}  // namespace

uint64_t available_memory() { return meminfo("MemAvailable:"); }

uint64_t total_memory() {
  const uint64_t all = meminfo("MemTotal:");
  // "max" where there is no limit: then nothing is read.
  uint64_t limit = 0;
  std::ifstream("/sys/fs/cgroup/memory.max") >> limit;
  return limit == 0 || all == 0 ? all : std::min(all, limit);
}

}  // namespace lockstep
