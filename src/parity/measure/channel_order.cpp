#include "parity/measure/channel_order.h"

#include <algorithm>
#include <numeric>
#include <set>

namespace lockstep::parity::measure {
namespace {

using Order = std::vector<int64_t>;

bool is_permutation(const Order& order) {
  std::vector<bool> seen(order.size());
  for (const int64_t place : order) {
    if (place < 0 || place >= static_cast<int64_t>(order.size())) return false;
    if (seen[static_cast<size_t>(place)]) return false;
    seen[static_cast<size_t>(place)] = true;
  }
  return true;
}

Order identity(int64_t n) {
  Order order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  return order;
}

// In runs of `width`, element (i, j) of an [a, b] table becomes (j, i): a = 2 takes halves to
// neighbours, b = 2 back. Runs of `unit` channels move as one.
Order table_order(int64_t n, int64_t width, int64_t a, int64_t unit) {
  Order order = identity(n);
  const int64_t b = width / a / unit;
  for (int64_t run = 0; run < n; run += width) {
    for (int64_t i = 0; i < width; ++i) {
      const int64_t cell = i / unit, within = i % unit;
      const int64_t from = (cell % a) * b + cell / a;
      order[static_cast<size_t>(run + i)] = run + from * unit + within;
    }
  }
  return order;
}

bool divides(int64_t part, int64_t n) { return part > 0 && n % part == 0; }

// Whole runs of `width` channels in another order, each as it was: the order of runs.
Order run_order(const Order& places, int64_t width) {
  Order runs;
  for (size_t c = 0; c < places.size(); ++c) {
    const auto within = static_cast<int64_t>(c) % width;
    if (places[c] % width != within) return {};
    if (within == 0) {
      runs.push_back(places[c] / width);
    } else if (places[c] / width != runs.back()) {
      return {};
    }
  }
  return runs;
}

bool is_rolled(const Order& order) {
  const auto n = static_cast<int64_t>(order.size());
  for (int64_t i = 0; i < n; ++i) {
    if (order[static_cast<size_t>(i)] != (order[0] + i) % n) return false;
  }
  return true;
}

bool is_reversed(const Order& order) {
  Order reversed = identity(static_cast<int64_t>(order.size()));
  std::reverse(reversed.begin(), reversed.end());
  return order == reversed;
}

std::string name_of_runs(const Order& runs, int64_t width, int64_t head_dim) {
  const std::string what = width == head_dim ? "heads" : "blocks of " + std::to_string(width);
  if (is_rolled(runs)) return what + " rolled by " + std::to_string(runs[0]);
  if (is_reversed(runs)) return what + " in reverse";
  const auto n = static_cast<int64_t>(runs.size());
  for (int64_t a = 2; a < n; ++a) {
    if (!divides(a, n) || n / a < 2) continue;
    if (runs == table_order(n, n, a, 1)) {
      return what + " dealt out to " + std::to_string(a) + " groups";
    }
  }
  return {};
}

}  // namespace

std::string order_name(const std::vector<int64_t>& places, int64_t head_dim, int64_t n_heads,
                       int64_t n_kv_heads) {
  const auto n = static_cast<int64_t>(places.size());
  if (!is_permutation(places) || places == identity(n)) return {};
  if (divides(head_dim, n) && head_dim % 2 == 0) {
    if (places == table_order(n, head_dim, 2, 1))
      return "halves of each head as neighbours (half to interleaved)";
    if (places == table_order(n, head_dim, head_dim / 2, 1)) {
      return "neighbours of each head as halves (interleaved to half)";
    }
  }
  if (n % 2 == 0) {
    if (places == table_order(n, n, 2, 1)) return "two halves interleaved channel by channel";
    if (places == table_order(n, n, n / 2, 1)) return "neighbours taken apart into two halves";
  }
  // q, k and v of a head, of a group, or of all heads side by side.
  for (const int64_t heads : {n_heads, n_kv_heads}) {
    if (!divides(3 * heads * head_dim, n) || heads < 2) continue;
    if (places == table_order(n, n, 3, head_dim)) return "q, k, v a head, not q, k, v as blocks";
    if (places == table_order(n, n, heads, head_dim)) return "q, k, v as blocks, not a head";
  }
  std::set<int64_t> widths;
  for (int64_t width = n / 2; width >= 1; --width) {
    if (divides(width, n)) widths.insert(width);
  }
  for (auto width = widths.rbegin(); width != widths.rend(); ++width) {
    const Order runs = run_order(places, *width);
    if (runs.empty()) continue;
    const std::string name = name_of_runs(runs, *width, head_dim);
    if (!name.empty()) return name;
  }
  return {};
}

}  // namespace lockstep::parity::measure
