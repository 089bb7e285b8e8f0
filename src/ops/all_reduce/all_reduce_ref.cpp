#include "kernels/element.h"
#include "ops/all_reduce/all_reduce.h"

namespace lockstep::ops {

void all_reduce_ref(const AllReduceArgs& args, ThreadPool&) noexcept {
  const int n_ranks = args.others == nullptr ? 1 : args.others->size();
  if (args.others != nullptr) {
    args.others->group.shown(args.others->rank) = args.x;
    if (!args.others->group.meet()) return;
  }
  for (int64_t i = 0; i < args.n; ++i) {
    double sum = 0;
    for (int rank = 0; rank < n_ranks; ++rank) {
      const void* shown = args.others == nullptr ? args.x : args.others->group.shown(rank);
      sum += load_float(shown, args.dtype, i);
    }
    store_float(args.out, args.out_dtype, i, static_cast<float>(sum));
  }
  if (args.others != nullptr) args.others->group.meet();
}

}  // namespace lockstep::ops
