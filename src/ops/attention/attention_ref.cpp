#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/element.h"
#include "ops/attention/attention.h"

namespace lockstep::ops {
namespace {

/// One query row and head; a pass a quantity, so that no memory is needed for the scores.
struct Query {
  const AttentionArgs& args;
  int64_t token, head, sequence;

  int64_t kv_head() const { return head / (args.n_heads / args.n_kv_heads); }

  double score(int64_t position) const {
    const int64_t q = (token * args.n_heads + head) * args.key_width;
    const int64_t k = cache_row(args, sequence, kv_head(), position) * args.key_width;
    double sum = 0;
    for (int64_t d = 0; d < args.key_width; ++d) {
      sum += static_cast<double>(load_float(args.q, args.dtype, q + d)) *
             static_cast<double>(load_float(args.k_cache, args.dtype, k + d));
    }
    sum *= static_cast<double>(args.scale);
    if (args.soft_cap != 0) sum = std::tanh(sum / args.soft_cap) * args.soft_cap;
    if (args.alibi_slopes == nullptr) return sum;
    return sum + args.alibi_scale * (alibi(position) - alibi(args.positions[token]));
  }

  double alibi(int64_t position) const {
    const double slope = args.alibi_slopes[head];
    if (args.alibi_rounding == AlibiRounding::kNone) return slope * static_cast<double>(position);
    const float place = round_to(DType::kBFloat16, static_cast<float>(position));
    return round_to(DType::kBFloat16,
                    round_to(DType::kBFloat16, static_cast<float>(slope)) * place);
  }

  void run() const {
    const KeyRange range = key_range(args, args.positions[token]);
    const double sink = args.sinks == nullptr ? -std::numeric_limits<double>::infinity()
                                              : load_float(args.sinks, args.sinks_dtype, head);
    double max = sink;
    for (int64_t p = range.begin; p < range.end; ++p) max = std::max(max, score(p));
    double total = std::exp(sink - max);
    for (int64_t p = range.begin; p < range.end; ++p) total += std::exp(score(p) - max);
    const int64_t out = (token * args.n_heads + head) * args.value_width;
    // Values in strips, so that a score is not computed again for each of them.
    constexpr int64_t kStrip = 64;
    for (int64_t d0 = 0; d0 < args.value_width; d0 += kStrip) {
      const int64_t n = std::min(kStrip, args.value_width - d0);
      double sums[kStrip] = {};
      for (int64_t p = range.begin; p < range.end; ++p) {
        const double weight = std::exp(score(p) - max) / total;
        const int64_t v = cache_row(args, sequence, kv_head(), p) * args.value_width + d0;
        for (int64_t d = 0; d < n; ++d) {
          sums[d] += weight * static_cast<double>(load_float(args.v_cache, args.dtype, v + d));
        }
      }
      for (int64_t d = 0; d < n; ++d) {
        store_float(args.out, args.dtype, out + d0 + d, static_cast<float>(sums[d]));
      }
    }
  }
};

}  // namespace

void attention_ref(const AttentionArgs& args, ThreadPool& pool) noexcept {
  write_cache(args, pool);
  for (int64_t s = 0; s < args.n_sequences; ++s) {
    for (int64_t t = args.row_offsets[s]; t < args.row_offsets[s + 1]; ++t) {
      for (int64_t h = 0; h < args.n_heads; ++h) Query{args, t, h, s}.run();
    }
  }
}

}  // namespace lockstep::ops
