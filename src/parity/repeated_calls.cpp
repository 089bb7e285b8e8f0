#include "parity/repeated_calls.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <vector>

#include "parity/metrics.h"

namespace lockstep::parity {
namespace {

// Above what any two roundings of one tensor differ by, and far below what two frequencies do.
constexpr double kSame = 0.01;
constexpr size_t kMostCalls = 4;  // all orders of them are tried

using Calls = std::map<std::string, std::vector<const Tap*>>;

/// The first output of every call, by path and in order of the calls.
Calls calls_of(const Run& run) {
  Calls calls;
  for (const Tap& tap : run.taps) {
    if (tap.info.role == TapRole::kOutput && tap.info.index == 0) {
      calls[tap.info.path].push_back(&tap);
    }
  }
  for (auto& [path, taps] : calls) {
    std::ranges::sort(taps, {}, [](const Tap* tap) { return tap->info.call; });
  }
  return calls;
}

bool agree(const Tap& reference, const Tap& port, ThreadPool& pool) {
  if (!is_floating(reference.view.dtype) || !is_floating(port.view.dtype)) return false;
  if (!pair_shapes(reference.view, port.view, false)) return false;
  return compare(reference.view, port.view, {}, pool).sums.relative_l2() <= kSame;
}

/// order[i] is the port's index of the reference's call i; nullopt where the recorded order is as
/// good as any.
std::optional<std::vector<size_t>> order_of(const std::vector<const Tap*>& reference,
                                            const std::vector<const Tap*>& port, ThreadPool& pool) {
  const size_t n = reference.size();
  std::vector<size_t> order(n);
  std::iota(order.begin(), order.end(), size_t{0});
  std::vector<std::optional<bool>> known(n * n);
  const auto fits = [&](size_t i) {
    std::optional<bool>& same = known[i * n + order[i]];
    if (!same) same = agree(*reference[i], *port[order[i]], pool);
    return *same;
  };
  const auto all_fit = [&] {
    for (size_t i = 0; i < n; ++i) {
      if (!fits(i)) return false;
    }
    return true;
  };
  if (all_fit()) return {};
  while (std::next_permutation(order.begin(), order.end())) {
    if (all_fit()) return order;
  }
  return {};
}

}  // namespace

std::map<std::string, std::map<int, int>> reordered_calls(const Run& reference, const Run& port,
                                                          ThreadPool& pool) {
  std::map<std::string, std::map<int, int>> reordered;
  const Calls port_calls = calls_of(port);
  for (const auto& [path, calls] : calls_of(reference)) {
    const auto found = port_calls.find(path);
    if (calls.size() < 2 || calls.size() > kMostCalls || found == port_calls.end() ||
        found->second.size() != calls.size()) {
      continue;
    }
    const auto order = order_of(calls, found->second, pool);
    if (!order) continue;
    for (size_t i = 0; i < calls.size(); ++i) {
      reordered[path][calls[i]->info.call] = found->second[(*order)[i]]->info.call;
    }
  }
  return reordered;
}

}  // namespace lockstep::parity
