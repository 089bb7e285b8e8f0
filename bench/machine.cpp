#include "bench/machine.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "bench/machine.cpp"  // this file, included once for each instruction set
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace lockstep::bench::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Sum of `n` floats; four chains hide the latency of the adds. n is a multiple of 4 vectors.
float SumFloats(const float* x, int64_t n) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  auto a = hn::Zero(d), b = hn::Zero(d), c = hn::Zero(d), e = hn::Zero(d);
  for (int64_t i = 0; i + 4 * lanes <= n; i += 4 * lanes) {
    a = hn::Add(a, hn::LoadU(d, x + i));
    b = hn::Add(b, hn::LoadU(d, x + i + lanes));
    c = hn::Add(c, hn::LoadU(d, x + i + 2 * lanes));
    e = hn::Add(e, hn::LoadU(d, x + i + 3 * lanes));
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(a, b), hn::Add(c, e))));
}

// `rounds` times ten independent multiply-adds; returns the operations done. Ten chains fill two
// units of latency four and fit 16 registers with both operands.
double MultiplyAdds(int64_t rounds, float* out) {
  const hn::ScalableTag<float> d;
  const auto x = hn::Set(d, 0.999f), y = hn::Set(d, 0.001f);
  auto a = hn::Set(d, out[0]), b = a, c = a, e = a, f = a, g = a, h = a, i = a, j = a, k = a;
  for (int64_t round = 0; round < rounds; ++round) {
    a = hn::MulAdd(a, x, y);
    b = hn::MulAdd(b, x, y);
    c = hn::MulAdd(c, x, y);
    e = hn::MulAdd(e, x, y);
    f = hn::MulAdd(f, x, y);
    g = hn::MulAdd(g, x, y);
    h = hn::MulAdd(h, x, y);
    i = hn::MulAdd(i, x, y);
    j = hn::MulAdd(j, x, y);
    k = hn::MulAdd(k, x, y);
  }
  const auto sum = hn::Add(hn::Add(hn::Add(a, b), hn::Add(c, e)),
                           hn::Add(hn::Add(hn::Add(f, g), hn::Add(h, i)), hn::Add(j, k)));
  out[0] = hn::GetLane(hn::SumOfLanes(d, sum));
  return 2.0 * 10.0 * static_cast<double>(rounds) * static_cast<double>(hn::Lanes(d));
}

}  // namespace lockstep::bench::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lockstep::bench {
namespace {

HWY_EXPORT(SumFloats);
HWY_EXPORT(MultiplyAdds);

constexpr int kPasses = 7;
constexpr int64_t kFloats = int64_t{128} << 20;  // 512 MiB
constexpr int64_t kRounds = int64_t{20} << 20;   // some 0.1 s

std::atomic<float> g_sink;  // so that no loop is dropped as unused

template <class Body>
double seconds(Body&& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

double read_bandwidth(ThreadPool& pool) {
  std::vector<float> buffer(static_cast<size_t>(kFloats), 1.0f);
  double best = 0.0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const double time = seconds([&] {
      pool.parallel_for(kFloats, 1 << 16, [&](int64_t begin, int64_t end, int) {
        g_sink.store(HWY_DYNAMIC_DISPATCH(SumFloats)(buffer.data() + begin, end - begin));
      });
    });
    best = std::max(best, static_cast<double>(kFloats * sizeof(float)) / time);
  }
  return best;
}

double fma_peak(ThreadPool& pool) {
  double best = 0.0;
  for (int pass = 0; pass < kPasses; ++pass) {
    std::atomic<double> operations{0.0};
    const double time = seconds([&] {
      pool.parallel_for(pool.size(), 1, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) {
          float x = 1.0f;
          const double done = HWY_DYNAMIC_DISPATCH(MultiplyAdds)(kRounds, &x);
          double before = operations.load();
          while (!operations.compare_exchange_weak(before, before + done)) {
          }
          g_sink.store(x);
        }
      });
    });
    best = std::max(best, operations.load() / time);
  }
  return best;
}

std::string machine_name(const ThreadPool& pool) {
  std::string cpu = "unknown CPU";
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) {
      cpu = line.substr(colon + 2);
      break;
    }
  }
  return cpu + ", " + std::to_string(pool.size()) + " threads";
}

}  // namespace lockstep::bench
#endif  // HWY_ONCE
