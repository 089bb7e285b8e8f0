// What headers say about themselves and against config.json, before anything is traced.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "hub/config.h"
#include "hub/tensor_list.h"

namespace lockstep::port {

struct CheckpointFacts {
  std::string summary;                // "2 files, 147 tensors, 1234567 parameters (BF16)"
  std::vector<std::string> faults;    // what cannot be right
  std::vector<std::string> warnings;  // what may be
};

/// Layers against num_hidden_layers, rows of the embedding against vocab_size, types that no kernel
/// reads, and the index's total_size, where the folder has an index. `config` is only read.
CheckpointFacts check_checkpoint(const std::filesystem::path& folder, const ConfigFile& config,
                                 const TensorList& tensors);

/// The type of most bytes, and how many there are in all.
DType dominant_dtype(const TensorList& tensors);

}  // namespace lockstep::port
