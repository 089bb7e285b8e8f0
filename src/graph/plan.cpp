#include "graph/plan.h"

#include <algorithm>
#include <iterator>
#include <set>

#include "lockstep/error.h"

namespace lockstep {
namespace {

constexpr uint64_t kAlignment = 64;

// Free ranges of an arena that grows at its end. Best fit keeps large holes for large values.
class Arena {
 public:
  uint64_t take(uint64_t bytes) {
    auto best = free_.end();
    for (auto it = free_.begin(); it != free_.end(); ++it) {
      if (it->second >= bytes && (best == free_.end() || it->second < best->second)) best = it;
    }
    if (best == free_.end()) return grow(bytes);
    const auto [offset, size] = *best;
    free_.erase(best);
    if (size > bytes) free_.emplace(offset + bytes, size - bytes);
    return offset;
  }

  void give(uint64_t offset, uint64_t bytes) {
    auto next = free_.lower_bound(offset);
    if (next != free_.end() && offset + bytes == next->first) {
      bytes += next->second;
      next = free_.erase(next);
    }
    if (next != free_.begin()) {
      auto previous = std::prev(next);
      if (previous->first + previous->second == offset) {
        previous->second += bytes;
        return;
      }
    }
    free_.emplace(offset, bytes);
  }

  uint64_t size() const { return size_; }

 private:
  uint64_t grow(uint64_t bytes) {
    // A hole that touches the end is stretched instead of left behind.
    if (!free_.empty()) {
      auto last = std::prev(free_.end());
      if (last->first + last->second == size_) {
        const uint64_t offset = last->first;
        free_.erase(last);
        size_ = offset + bytes;
        return offset;
      }
    }
    const uint64_t offset = size_;
    size_ += bytes;
    return offset;
  }

  std::map<uint64_t, uint64_t> free_;  // offset -> bytes
  uint64_t size_ = 0;
};

uint64_t bytes_of(const TensorType& type, const SymbolValues& most) {
  const auto bytes = static_cast<uint64_t>(type.shape.elements(most)) * dtype_size(type.dtype);
  return std::max<uint64_t>(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
}

}  // namespace

Plan plan_memory(const Graph& graph, const SymbolValues& most) {
  std::map<ValueId, uint32_t> last_use;
  for (uint32_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    for (const ValueId& input : node.inputs) last_use[graph.storage(input)] = n;
    for (uint32_t i = 0; node.kind == NodeKind::kOp && i < node.outputs.size(); ++i) {
      last_use.try_emplace(graph.storage({n, i}), n);  // a result nobody reads
    }
  }
  std::set<ValueId> external;
  for (const GraphOutput& output : graph.outputs) external.insert(graph.storage(output.value));

  std::vector<std::vector<ValueId>> dies_at(graph.nodes.size());
  for (const auto& [value, node] : last_use) dies_at[node].push_back(value);

  Plan plan;
  Arena arena;
  for (uint32_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    const bool computes = node.kind == NodeKind::kOp && node.op->run != nullptr;
    for (uint32_t i = 0; computes && i < node.outputs.size(); ++i) {
      const ValueId value{n, i};
      if (external.contains(value)) continue;
      const uint64_t bytes = bytes_of(node.outputs[i], most);
      plan.unshared_bytes += bytes;
      plan.offsets[value] = arena.take(bytes);
    }
    for (const ValueId& value : dies_at[n]) {
      const auto at = plan.offsets.find(value);
      if (at != plan.offsets.end()) arena.give(at->second, bytes_of(graph.type(value), most));
    }
  }
  plan.arena_bytes = arena.size();
  return plan;
}

}  // namespace lockstep
