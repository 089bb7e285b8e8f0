// Many tensor names as a few lines: layers and experts by their numbers.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace lockstep::port {

struct KeyPattern {
  std::string text;  // "model.layers.{0..3}.mlp.experts.{0,5}.up_proj.weight"
  size_t n = 0;      // names it stands for
};

/// Exact: a pattern stands for every combination of its numbers, and each name is in one pattern.
/// In the order of first appearance.
std::vector<KeyPattern> collapse_keys(const std::vector<std::string>& names);

/// At most `most` lines, "PATTERN (32 tensors)", then "... and 4 more (210 tensors)".
std::vector<std::string> pattern_lines(const std::vector<std::string>& names, size_t most);

}  // namespace lockstep::port
