#include "ops/all_gather/all_gather.h"

namespace lockstep::ops {

void all_gather_ref(const AllGatherArgs& args, ThreadPool&) noexcept {
  const int n_ranks = args.others == nullptr ? 1 : args.others->size();
  if (args.others != nullptr) {
    args.others->group.shown(args.others->rank) = args.x;
    if (!args.others->group.meet()) return;
  }
  for (int64_t o = 0; o < args.outer; ++o) {
    for (int rank = 0; rank < n_ranks; ++rank) {
      const void* shown = args.others == nullptr ? args.x : args.others->group.shown(rank);
      int64_t n_held = 0, at = 0;
      for (size_t i = 0; i < args.ranks.size(); ++i) {
        if (args.ranks[i] == rank) n_held += args.bounds[2 * i + 1] - args.bounds[2 * i];
      }
      for (size_t i = 0; i < args.ranks.size(); ++i) {
        if (args.ranks[i] != rank) continue;
        for (int64_t e = args.bounds[2 * i]; e < args.bounds[2 * i + 1]; ++e, ++at) {
          for (size_t b = 0; b < args.inner_bytes; ++b) {
            static_cast<char*>(
                args.out)[static_cast<size_t>(o * args.size + e) * args.inner_bytes + b] =
                static_cast<const char*>(
                    shown)[static_cast<size_t>(o * n_held + at) * args.inner_bytes + b];
          }
        }
      }
    }
  }
  if (args.others != nullptr) args.others->group.meet();
}

}  // namespace lockstep::ops
