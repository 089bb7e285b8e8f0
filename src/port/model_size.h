// How large a model is: from tensor headers, else from config.json, roughly.
#pragma once

#include <cstdint>
#include <string>

#include "port/config_keys.h"
#include "port/model_facts.h"

namespace lockstep::port {

struct ModelSize {
  double parameters = 0;
  uint64_t bytes = 0;
  bool is_estimate = false;  // from config.json
  std::string evidence;      // "163 tensors, 671.0 billion parameters", or the keys
};

/// Of the headers; of config.json where these are missing or hold less than half of what it says.
ModelSize size_of(const ModelFacts& facts, const ConfigKeys& keys);

}  // namespace lockstep::port
