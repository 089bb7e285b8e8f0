#include "kernels/element.h"
#include "ops/all_reduce/all_reduce.h"

namespace lockstep::ops {
namespace {

// Types are known at compile time, so that the loop over elements is vectorised.
template <DType kIn, DType kOut>
void add_up(const AllReduceArgs& args, const void* const* shown, int n_ranks, int64_t begin,
            int64_t end) noexcept {
  constexpr int64_t kBlock = 512;
  float sums[kBlock];
  for (int64_t at = begin; at < end; at += kBlock) {
    const int64_t n = end - at < kBlock ? end - at : kBlock;
    for (int64_t i = 0; i < n; ++i) sums[i] = load_float(shown[0], kIn, at + i);
    for (int rank = 1; rank < n_ranks; ++rank) {
      for (int64_t i = 0; i < n; ++i) sums[i] += load_float(shown[rank], kIn, at + i);
    }
    for (int64_t i = 0; i < n; ++i) store_float(args.out, kOut, at + i, sums[i]);
  }
}

}  // namespace

void all_reduce_cpu(const AllReduceArgs& args, ThreadPool& pool) noexcept {
  const void* const* shown = &args.x;
  int n_ranks = 1;
  if (args.others != nullptr) {
    RankGroup& group = args.others->group;
    group.shown(args.others->rank) = args.x;
    if (!group.meet()) return;
    shown = &group.shown(0);
    n_ranks = group.size();
  }
  constexpr DType kFloat = DType::kFloat32, kBrain = DType::kBFloat16;
  const bool from_float = args.dtype == kFloat, to_float = args.out_dtype == kFloat;
  const auto body = from_float ? (to_float ? add_up<kFloat, kFloat> : add_up<kFloat, kBrain>)
                               : (to_float ? add_up<kBrain, kFloat> : add_up<kBrain, kBrain>);
  pool.parallel_for(args.n, 16384, [&](int64_t begin, int64_t end, int) {
    body(args, shown, n_ranks, begin, end);
  });
  if (args.others != nullptr) args.others->group.meet();
}

}  // namespace lockstep::ops
