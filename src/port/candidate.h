// A model as donors are measured against it: its text part's configuration and tensor headers.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "hub/checkpoint.h"
#include "port/model_facts.h"

namespace lockstep::port {

struct Candidate {
  nlohmann::ordered_json config;  // in file order; of a wrapper the keys of its text part
  Checkpoint headers;             // of a wrapper the text part's, under the names it has alone
  std::string class_name, model_type;
  /// Of a wrapper: where its text part's keys lie ("text_config"); else empty.
  std::string wrapper_key;
  /// Of a wrapper: what its text part's names begin with; else empty.
  std::string wrapper_prefix;
  size_t n_foreign = 0;              // tensors that are no part of the text
  std::vector<std::string> foreign;  // what their names begin with

  static Candidate of(const ModelFacts& facts);
};

/// "4096", "[1, 1, 0, ...]", "an object": a value for a report, cut where it is long.
std::string shown_value(const nlohmann::ordered_json& value);

/// The value at a dotted path ("rope_parameters.rope_theta", "layer_types.3"), or nullptr.
const nlohmann::ordered_json* value_at(const nlohmann::ordered_json& config, std::string_view path);

}  // namespace lockstep::port
