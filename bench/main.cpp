#include <algorithm>
#include <array>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "bench/bench.h"
#include "bench/machine.h"

namespace lockstep::bench {
namespace {

struct Ceilings {
  double bytes_per_second = 0.0, operations_per_second = 0.0;
};

const Ceilings& ceilings() {
  static const Ceilings measured{read_bandwidth(pool()), fma_peak(pool())};
  return measured;
}

/// The commit of the sources this was built from, "-dirty" when they were changed since.
std::string commit() {
  const auto close = [](FILE* file) { pclose(file); };
  const std::unique_ptr<FILE, decltype(close)> git(
      popen("git -C '" LOCKSTEP_SOURCE_DIR "' describe --always --dirty --abbrev=12 2>/dev/null",
            "r"),
      close);
  std::array<char, 128> line{};
  if (!git || std::fgets(line.data(), line.size(), git.get()) == nullptr) return "unknown";
  std::string name(line.data());
  while (!name.empty() && name.back() == '\n') name.pop_back();
  return name;
}

std::string giga(double x, const char* unit) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%.1f %s", x * 1e-9, unit);
  return text.data();
}

double least(const std::vector<double>& x) { return *std::min_element(x.begin(), x.end()); }
double most(const std::vector<double>& x) { return *std::max_element(x.begin(), x.end()); }

}  // namespace

ThreadPool& pool() {
  static ThreadPool threads;
  return threads;
}

double machine_read_bandwidth() { return ceilings().bytes_per_second; }
double machine_fma_peak() { return ceilings().operations_per_second; }

void repeat(benchmark::internal::Benchmark* registered) {
  registered->Repetitions(9)->ReportAggregatesOnly()->UseRealTime();
  registered->ComputeStatistics("min", least)->ComputeStatistics("max", most);
}

void report_rates(benchmark::State& state, double bytes, double operations) {
  using benchmark::Counter;
  const auto rate = Counter::kIsIterationInvariantRate;
  if (bytes > 0.0) {
    state.counters["GB/s"] = Counter(bytes * 1e-9, rate);
    state.counters["of_read"] = Counter(bytes / machine_read_bandwidth(), rate);
  }
  if (operations > 0.0) {
    state.counters["GFLOP/s"] = Counter(operations * 1e-9, rate);
    state.counters["of_fma"] = Counter(operations / machine_fma_peak(), rate);
  }
}

}  // namespace lockstep::bench

int main(int argc, char** argv) {
  namespace bench = lockstep::bench;
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::AddCustomContext("machine", bench::machine_name(bench::pool()));
  benchmark::AddCustomContext("commit", bench::commit());
  benchmark::AddCustomContext("memory read", bench::giga(bench::machine_read_bandwidth(), "GB/s"));
  benchmark::AddCustomContext("float32 multiply-add",
                              bench::giga(bench::machine_fma_peak(), "GFLOP/s"));
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
