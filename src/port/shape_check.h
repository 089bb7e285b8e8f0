// Tensor headers against config.json, whatever the class: what a config does not tell.
#pragma once

#include <string>
#include <vector>

#include "port/config_keys.h"
#include "port/model_facts.h"

namespace lockstep::port {

struct ShapeFinding {
  std::string what;      // "head_dim is not hidden_size / num_attention_heads"
  std::string tensor;    // a name; numbers as * where it stands for many
  std::string expected;  // by config.json
  std::string found;     // in the headers
};

/// Nothing for a checkpoint without tensors, and for names that no convention of transformers has.
std::vector<ShapeFinding> check_shapes(const ModelFacts& facts, const ConfigKeys& keys);

}  // namespace lockstep::port
