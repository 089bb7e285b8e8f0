// What headers say about themselves and against config.json, before anything is traced.
#pragma once

#include <string>
#include <vector>

#include "hub/tensor_list.h"
#include "port/model_facts.h"

namespace lockstep::port {

struct CheckpointFacts {
  std::string summary;                // "2 files, 147 tensors, 1234567 parameters (BF16)"
  std::vector<std::string> faults;    // what cannot be right
  std::vector<std::string> warnings;  // what may be
};

/// Layers against num_hidden_layers, rows of the embedding against vocab_size, types that no kernel
/// reads, and the index's total_size, where the folder has an index.
CheckpointFacts check_checkpoint(const ModelFacts& facts);

/// The type of most bytes; float32 without any tensor.
DType dominant_dtype(const TensorList& tensors);

}  // namespace lockstep::port
