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

void spread(benchmark::internal::Benchmark* registered) {
  registered->UseRealTime();
  registered->ComputeStatistics("min", least)->ComputeStatistics("max", most);
}

RateReport::~RateReport() {
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
  const double per_second = static_cast<double>(state_.iterations()) / elapsed.count();
  if (bytes_ > 0.0) {
    state_.counters["GB/s"] = bytes_ * per_second * 1e-9;
    state_.counters["of_read"] = bytes_ * per_second / machine_read_bandwidth();
  }
  if (operations_ > 0.0) {
    state_.counters["GFLOP/s"] = operations_ * per_second * 1e-9;
    state_.counters["of_fma"] = operations_ * per_second / machine_fma_peak();
  }
}

}  // namespace lockstep::bench

int main(int argc, char** argv) {
  namespace bench = lockstep::bench;
  // What was typed comes last and wins.
  std::string defaults[] = {"--benchmark_repetitions=9", "--benchmark_min_time=0.2",
                            "--benchmark_report_aggregates_only=true"};
  std::vector<char*> arguments{argv[0]};
  for (std::string& argument : defaults) arguments.push_back(argument.data());
  arguments.insert(arguments.end(), argv + 1, argv + argc);
  argc = static_cast<int>(arguments.size());
  arguments.push_back(nullptr);
  argv = arguments.data();
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
