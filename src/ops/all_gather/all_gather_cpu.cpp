#include <cstring>

#include "ops/all_gather/all_gather.h"

namespace lockstep::ops {
namespace {

// The ranges of `rank`, from what it shows.
void take_ranges(const AllGatherArgs& args, int rank, const void* shown) noexcept {
  const auto* from = static_cast<const char*>(shown);
  for (int64_t o = 0; o < args.outer; ++o) {
    char* row =
        static_cast<char*>(args.out) + static_cast<size_t>(o * args.size) * args.inner_bytes;
    for (size_t i = 0; i < args.ranks.size(); ++i) {
      if (args.ranks[i] != rank) continue;
      const auto begin = static_cast<size_t>(args.bounds[2 * i]);
      const size_t n = (static_cast<size_t>(args.bounds[2 * i + 1]) - begin) * args.inner_bytes;
      std::memcpy(row + begin * args.inner_bytes, from, n);
      from += n;
    }
  }
}

}  // namespace

void all_gather_cpu(const AllGatherArgs& args, ThreadPool&) noexcept {
  if (args.others == nullptr) return take_ranges(args, 0, args.x);
  RankGroup& group = args.others->group;
  group.shown(args.others->rank) = args.x;
  if (!group.meet()) return;
  for (int rank = 0; rank < group.size(); ++rank) take_ranges(args, rank, group.shown(rank));
  group.meet();
}

}  // namespace lockstep::ops
