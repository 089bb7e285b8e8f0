#include "text/split.h"

#include <array>
#include <utility>

namespace lockstep::text {

SplitBehavior split_behavior_of(const JsonPart& part) {
  using Named = std::pair<std::string_view, SplitBehavior>;
  constexpr auto kBehaviors = std::to_array<Named>({
      {"Removed", SplitBehavior::kRemoved},
      {"Isolated", SplitBehavior::kIsolated},
      {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
      {"MergedWithNext", SplitBehavior::kMergedWithNext},
      {"Contiguous", SplitBehavior::kContiguous},
  });
  for (const auto& [name, behavior] : kBehaviors) {
    if (part.as_string() == name) return behavior;
  }
  part.fail("Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous", part.describe());
}

}  // namespace lockstep::text
