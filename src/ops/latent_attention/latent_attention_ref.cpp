#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/element.h"
#include "ops/latent_attention/latent_attention.h"

namespace lockstep::ops {
namespace {

/// One query row and head. Scores are computed again in each pass, so that none need be kept.
struct Query {
  const LatentAttentionArgs& args;
  int64_t token, head, sequence;
  double* folded;  // [rank]: Wk^T q_nope
  double* sums;    // [rank]: the latents' mean

  double weight(int64_t row, int64_t r) const {
    const int64_t first = head * (args.nope_width + args.value_width);
    return static_cast<double>(
        load_float(args.kv_b, args.weight_dtype, (first + row) * args.rank + r));
  }

  void fold() const {
    const int64_t q = (token * args.n_heads + head) * args.nope_width;
    std::fill_n(folded, args.rank, 0.0);
    for (int64_t d = 0; d < args.nope_width; ++d) {
      const double x = load_float(args.q_nope, args.dtype, q + d);
      for (int64_t r = 0; r < args.rank; ++r) folded[r] += x * weight(d, r);
    }
  }

  double score(int64_t position) const {
    const int64_t row = latent_row(args, sequence, position) * (args.rank + args.rot_width);
    const int64_t q = (token * args.n_heads + head) * args.rot_width;
    double sum = 0;
    for (int64_t r = 0; r < args.rank; ++r) {
      sum += folded[r] * static_cast<double>(load_float(args.cache, args.dtype, row + r));
    }
    for (int64_t d = 0; d < args.rot_width; ++d) {
      sum += static_cast<double>(load_float(args.q_rot, args.dtype, q + d)) *
             static_cast<double>(load_float(args.cache, args.dtype, row + args.rank + d));
    }
    return sum * static_cast<double>(args.scale);
  }

  void run() const {
    fold();
    const int64_t n = args.positions[token] + 1;
    double max = -std::numeric_limits<double>::infinity(), total = 0;
    for (int64_t p = 0; p < n; ++p) max = std::max(max, score(p));
    std::fill_n(sums, args.rank, 0.0);
    for (int64_t p = 0; p < n; ++p) {
      const double exp = std::exp(score(p) - max);
      const int64_t row = latent_row(args, sequence, p) * (args.rank + args.rot_width);
      total += exp;
      for (int64_t r = 0; r < args.rank; ++r) {
        sums[r] += exp * static_cast<double>(load_float(args.cache, args.dtype, row + r));
      }
    }
    const int64_t out = (token * args.n_heads + head) * args.value_width;
    for (int64_t d = 0; d < args.value_width; ++d) {
      double sum = 0;
      for (int64_t r = 0; r < args.rank; ++r) sum += weight(args.nope_width + d, r) * sums[r];
      store_float(args.out, args.dtype, out + d, static_cast<float>(sum / total));
    }
  }
};

}  // namespace

void latent_attention_ref(const LatentAttentionArgs& args, ThreadPool& pool) noexcept {
  write_latents(args, pool);
  auto* folded =
      static_cast<double*>(pool.scratch(0, static_cast<size_t>(2 * args.rank) * sizeof(double)));
  for (int64_t s = 0; s < args.n_sequences; ++s) {
    for (int64_t t = args.row_offsets[s]; t < args.row_offsets[s + 1]; ++t) {
      for (int64_t h = 0; h < args.n_heads; ++h) {
        Query{args, t, h, s, folded, folded + args.rank}.run();
      }
    }
  }
}

}  // namespace lockstep::ops
