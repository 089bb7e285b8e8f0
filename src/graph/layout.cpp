#include "graph/layout.h"

#include <fmt/format.h>

#include <algorithm>

namespace lockstep {

int64_t Layout::size(int rank) const {
  int64_t size = 0;
  for (const Range& range : ranges[static_cast<size_t>(rank)]) size += range.size();
  return size;
}

std::string to_string(const Layout& layout) {
  if (layout.is_whole()) return "whole";
  std::string text = fmt::format("dim {}:", layout.dim);
  for (size_t rank = 0; rank < layout.ranges.size(); ++rank) {
    if (rank > 0) text += " |";
    for (const Range& range : layout.ranges[rank]) {
      text += fmt::format(" {}-{}", range.begin, range.end);
    }
  }
  return text;
}

FlatSpread flattened(const Spread& spread) {
  FlatSpread flat;
  for (size_t rank = 0; rank < spread.size(); ++rank) {
    for (const Range& range : spread[rank]) {
      flat.ranks.push_back(static_cast<int64_t>(rank));
      flat.bounds.insert(flat.bounds.end(), {range.begin, range.end});
    }
  }
  return flat;
}

Spread normalised(Spread spread) {
  for (std::vector<Range>& ranges : spread) {
    std::ranges::sort(ranges, {}, &Range::begin);
    std::vector<Range> joined;
    for (const Range& range : ranges) {
      if (!joined.empty() && range.begin <= joined.back().end) {
        joined.back().end = std::max(joined.back().end, range.end);
      } else {
        joined.push_back(range);
      }
    }
    ranges = std::move(joined);
  }
  return spread;
}

std::optional<Spread> split_evenly(int64_t n, int64_t grain, int n_ranks) {
  const int64_t n_grains = n / grain;
  if (n % grain != 0 || n_grains < n_ranks) return std::nullopt;
  Spread spread;
  for (int rank = 0; rank < n_ranks; ++rank) {
    spread.push_back(
        {{n_grains * rank / n_ranks * grain, n_grains * (rank + 1) / n_ranks * grain}});
  }
  return spread;
}

Layout layout_of(const AxisDim& dim, const Spread& units, int64_t size) {
  if (dim.kind != AxisDim::Kind::kSplit) return {};
  Layout layout{dim.dim, units};
  bool is_whole = true;
  for (std::vector<Range>& ranges : layout.ranges) {
    for (Range& range : ranges) {
      range.begin = dim.offset + range.begin * dim.num / dim.den;
      range.end = dim.offset + (range.end * dim.num + dim.den - 1) / dim.den;
    }
  }
  layout.ranges = normalised(std::move(layout.ranges));
  for (const std::vector<Range>& ranges : layout.ranges) {
    is_whole &= ranges == std::vector<Range>{{0, size}};
  }
  return is_whole ? Layout{} : layout;
}

std::optional<Spread> units_of(const AxisDim& dim, const Layout& layout, int64_t n_units) {
  if (dim.kind != AxisDim::Kind::kSplit || dim.dim != layout.dim) return std::nullopt;
  Spread units;
  for (const std::vector<Range>& ranges : layout.ranges) {
    std::vector<Range>& own = units.emplace_back();
    for (const Range& range : ranges) {
      // What lies outside, before an offset or after the last unit, belongs to other ops.
      const int64_t begin = std::max<int64_t>(0, range.begin - dim.offset) * dim.den;
      const int64_t end = std::min((range.end - dim.offset) * dim.den, n_units * dim.num);
      if (begin >= end) continue;
      if (begin % dim.num != 0 || end % dim.num != 0) return std::nullopt;
      own.push_back({begin / dim.num, end / dim.num});
    }
    if (own.empty()) return std::nullopt;
  }
  return normalised(std::move(units));
}

}  // namespace lockstep
