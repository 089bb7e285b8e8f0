// Tensors that do not fit, gathered by what they are about: layers and experts put together.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "graph/trace.h"
#include "port/topics.h"

namespace lockstep::port {

struct TensorGroup {
  /// Patterns of names, and the layers they were found in (none: outside the layers).
  using Names = std::map<std::string, std::set<int>>;
  Names surplus;         // stored, and not read by the donor
  Names missing;         // read by the donor, and not stored
  Names mismatched;      // of another shape or type
  std::string mismatch;  // the first of them in the audit's words
};

std::map<Topic, TensorGroup> group_tensors(const Audit& audit);

/// "model.layers.*.self_attn.{q,k}_norm.weight"-like lines: names of one module together, and the
/// layers where they are not all of `n_layers`.
std::string shown_names(const TensorGroup::Names& names, int64_t n_layers);

}  // namespace lockstep::port
