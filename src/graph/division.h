// Which ops of a graph are divided among ranks, and how its values then lie (graph/shard.h).
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "graph/layout.h"

namespace lockstep {

class Division {
 public:
  struct Divided {
    ShardAxis axis;
    Spread units;
  };

  Division(const Graph& graph, int n_ranks);

  /// nullptr: the op runs whole on every rank.
  const Divided* of(uint32_t node) const;
  /// Where the op's result lies; whole where it is a parameter.
  Layout layout(ValueId v) const;
  const std::map<ValueId, Layout>& layouts() const { return layouts_; }
  const std::vector<std::string>& notices() const { return notices_; }

  /// What a divided op needs of its input `i`: a whole parameter, some ranges.
  Layout wanted(uint32_t node, size_t i) const;
  /// Whether it reads input `i` as it lies, of which it wants a part (slices).
  static bool is_part(const AxisDim& dim, int64_t n_units, int64_t size);

 private:
  // A division under consideration.
  struct Draft {
    std::map<uint32_t, Divided> nodes;
    std::map<ValueId, Layout> layouts;
    /// Of a value, what each op wants that reads only a part of it.
    std::map<ValueId, std::map<uint32_t, Layout>> parts;
    bool reads_weights = false;
    bool sole_uses = false;  // pass only through values that nothing else reads
  };

  void divide_anchors();
  void divide_in_order();
  void divide_logits();
  bool follow_inputs(uint32_t n);
  bool divide_by_rows(uint32_t n);
  bool divide_sum(uint32_t n);

  void demand(Draft& draft, ValueId v, const Layout& layout) const;
  void lay_outputs(uint32_t n, const Divided& divided, std::map<ValueId, Layout>& layouts) const;
  void divide(Draft& draft, uint32_t n, const ShardAxis& axis, const Spread& units) const;
  void resolve_parts(Draft& draft) const;
  std::optional<Layout> joined_parts(ValueId v, const std::map<uint32_t, Layout>& parts) const;
  void commit(Draft draft);

  std::vector<ShardAxis> axes(uint32_t n) const;
  std::optional<Spread> split_units(const ShardAxis& axis) const;
  int64_t dim_size(ValueId v, int dim) const { return graph_.type(v).shape[dim].count; }
  bool is_cache(uint32_t node) const { return caches_[node]; }
  int n_uses(ValueId v) const;

  const Graph& graph_;
  int n_ranks_;
  std::vector<bool> caches_, live_;
  std::map<ValueId, std::vector<uint32_t>> readers_;  // live ops
  std::map<uint32_t, Divided> nodes_;
  std::map<ValueId, Layout> layouts_;
  std::vector<std::string> notices_;
};

}  // namespace lockstep
