// The sources of a new port as text: a skeleton that inherits its donor, or the donor copied.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "port/config_masks.h"
#include "port/delta.h"
#include "port/donor_source.h"

namespace lockstep::port {

/// A weight that the donor reads and the checkpoint stores otherwise: its rows are those of
/// `parts`, one after the other.
struct WeightStep {
  struct Rows {
    std::string stored;
    int64_t begin = 0, end = 0;  // 0, 0: all
  };
  std::string pattern;  // "model.layers.*.self_attn.qkv_proj.weight", one number at most
  std::vector<int64_t> shape;
  std::vector<Rows> parts;  // patterns as well
  int delta = 0;
};

/// What the sources are made of.
struct PortPlan {
  std::string slug, class_name;
  DonorSource donor;
  std::vector<Chunk> sdk;  // what the SDK's nn headers declare
  DonorReport report;      // the deltas; each becomes one TODO at least
  std::vector<ConfigMask> masks;
  /// Patterns of stored tensors that the donor does not read, with the delta they belong to.
  std::vector<std::pair<std::string, int>> unread_tensors;
  std::vector<WeightStep> weight_steps;
  std::string wrapper_key;  // of a wrapper: where the text model's keys lie; else empty
  std::string encoding;     // of the stored weights: "bfloat16"
  int unwraps = 0;          // the number of the delta that reading a wrapper's text part is

  std::string stem() const { return stem_of(class_name); }
  /// Below namespace lockstep.
  std::string space() const { return "port_" + slug; }
};

/// What the headers of lockstep/nn declare.
std::vector<Chunk> sdk_chunks(const std::filesystem::path& sdk);

/// File names and contents: arch.cpp, model_config.h, weight_adapters.h, model.h, <slug>.h.
using Sources = std::map<std::string, std::string>;
Sources skeleton_sources(const PortPlan& plan);
Sources copied_sources(const PortPlan& plan);

/// A delta as a comment: TODO(delta N), then the reference's behaviour beside the donor's.
std::string todo_comment(const Delta& delta, const std::string& indent);
/// `text` as a literal of C++.
std::string cpp_literal(const std::string& text);

}  // namespace lockstep::port
