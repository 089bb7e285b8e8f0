#include "parity/logits.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "parity/pages.h"
#include "tensor/dtype.h"

namespace lockstep::parity {
namespace {

constexpr size_t kKeptFlips = 32;
constexpr int64_t kBlockElements = 1 << 18;  // between two drops of pages

struct RowResult {
  double kl = 0, margin = 0, rms = 0, flip_margin = 0;
  int64_t reference_id = 0, port_id = 0;
  int overlap = 0;
};

/// Indices of the kTopK highest, highest first; the lower index wins a tie, as argmax does.
struct Top {
  std::array<int64_t, kTopK> id;
  std::array<float, kTopK> value;
  int count = 0;

  void add(int64_t i, float x) noexcept {
    if (count == kTopK && !(x > value[kTopK - 1])) return;
    int at = count < kTopK ? count++ : kTopK - 1;
    while (at > 0 && x > value[at - 1]) {
      id[at] = id[at - 1];
      value[at] = value[at - 1];
      --at;
    }
    id[at] = i;
    value[at] = x;
  }
};

Top highest(const std::vector<float>& x) noexcept {
  Top top;
  float least = -std::numeric_limits<float>::infinity();
  const auto n = static_cast<int64_t>(x.size());
  for (int64_t i = 0; i < n; ++i) {
    const float value = x[static_cast<size_t>(i)];
    if (top.count == kTopK && value <= least) continue;
    top.add(i, value);
    least = top.value[top.count - 1];
  }
  return top;
}

void load_row(const View& view, int64_t row, std::vector<float>& out) noexcept {
  const auto* base = static_cast<const std::byte*>(view.data) +
                     static_cast<size_t>(row * view.stride[0]) * dtype_size(view.dtype);
  if (view.dtype == DType::kFloat32 && view.stride[1] == 1) {
    std::memcpy(out.data(), base, out.size() * sizeof(float));
    return;
  }
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = static_cast<float>(
        load_element(base, view.dtype, static_cast<int64_t>(i) * view.stride[1]));
  }
}

RowResult compare_row(const std::vector<float>& ref, const std::vector<float>& port) noexcept {
  RowResult out;
  const Top r = highest(ref), p = highest(port);
  out.reference_id = r.id[0];
  out.port_id = p.id[0];
  out.margin = r.count > 1 ? static_cast<double>(r.value[0]) - r.value[1] : 0;
  out.flip_margin = static_cast<double>(r.value[0]) - ref[static_cast<size_t>(p.id[0])];
  for (int i = 0; i < r.count; ++i) {
    out.overlap +=
        std::find(p.id.begin(), p.id.begin() + p.count, r.id[i]) != p.id.begin() + p.count;
  }
  double ref_sum = 0, port_sum = 0, cross = 0, squares = 0;
  for (size_t i = 0; i < ref.size(); ++i) {
    const double ref_weight = std::exp(static_cast<double>(ref[i] - r.value[0]));
    ref_sum += ref_weight;
    port_sum += std::exp(static_cast<double>(port[i] - p.value[0]));
    cross += ref_weight * (static_cast<double>(ref[i]) - port[i]);
    squares += static_cast<double>(ref[i]) * ref[i];
  }
  // log p = x - max - log(sum): the sums of the two rows apart, so that equal rows give exactly 0.
  out.kl = cross / ref_sum - (static_cast<double>(r.value[0]) - p.value[0]) -
           (std::log(ref_sum) - std::log(port_sum));
  out.kl = std::max(0.0, out.kl);
  out.rms = std::sqrt(squares / static_cast<double>(ref.size()));
  return out;
}

}  // namespace

LogitsMetrics compare_logits(const View& reference, const View& port, bool may_drop,
                             ThreadPool& pool) {
  LogitsMetrics out;
  out.rows = reference.shape[0];
  out.vocab = reference.shape[1];
  if (out.rows == 0 || out.vocab == 0) return out;
  std::vector<RowResult> rows(static_cast<size_t>(out.rows));
  std::vector<std::array<std::vector<float>, 2>> scratch(static_cast<size_t>(pool.size()));
  for (auto& pair : scratch) {
    for (auto& row : pair) row.resize(static_cast<size_t>(out.vocab));
  }
  pool.parallel_for(out.rows, 1, [&](int64_t begin, int64_t end, int worker) {
    auto& [ref, p] = scratch[static_cast<size_t>(worker)];
    const int64_t block = std::max<int64_t>(1, kBlockElements / out.vocab);
    for (int64_t first = begin; first < end; first += block) {
      const int64_t last = std::min(end, first + block);
      for (int64_t row = first; row < last; ++row) {
        load_row(reference, row, ref);
        load_row(port, row, p);
        rows[static_cast<size_t>(row)] = compare_row(ref, p);
      }
      if (!may_drop) continue;
      drop_rows(reference, first, last);
      drop_rows(port, first, last);
    }
  });
  out.min_margin = std::numeric_limits<double>::infinity();
  double overlap = 0, kl = 0;
  for (int64_t i = 0; i < out.rows; ++i) {
    const RowResult& row = rows[static_cast<size_t>(i)];
    overlap += row.overlap;
    kl += row.kl;
    if (row.kl > out.kl_max) {
      out.kl_max = row.kl;
      out.kl_max_row = i;
    }
    if (row.margin < out.min_margin) {
      out.min_margin = row.margin;
      out.min_margin_row = i;
    }
    if (row.reference_id == row.port_id) {
      ++out.same_top1;
      continue;
    }
    ++out.n_flips;
    if (out.flips.size() < kKeptFlips) {
      out.flips.push_back({i, row.reference_id, row.port_id, row.flip_margin, row.rms, false});
    }
  }
  const auto n = static_cast<double>(out.rows);
  out.top_k_overlap = overlap / n / static_cast<double>(std::min<int64_t>(kTopK, out.vocab));
  out.kl_mean = kl / n;
  return out;
}

Winner winner(const View& logits, int64_t row) {
  std::vector<float> x(static_cast<size_t>(logits.shape[1]));
  load_row(logits, row, x);
  const Top top = highest(x);
  if (top.count == 0) return {};
  return {top.id[0], top.count > 1 ? static_cast<double>(top.value[0]) - top.value[1] : 0.0};
}

}  // namespace lockstep::parity
