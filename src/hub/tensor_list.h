// The tensors of a model from headers alone: of a folder, of the cache, or of the Hub by ranges.
#pragma once

#include <string>
#include <vector>

#include "hub/hub_settings.h"
#include "tensor/safetensors.h"

namespace lockstep {

struct TensorList {
  std::string model;  // the id, or the folder as it was named
  bool sharded = false;
  size_t n_files = 0;
  std::vector<TensorEntry> tensors;  // file by file, in the order of their data
};

/// `model`: a folder, or a Hub id, found in the cache when its weights are there. Else one request
/// for the list of files, one for the index, and one or two for each shard, many at once; no
/// weights. Index and headers must agree. Throws as Checkpoint::open and HubRepository do.
TensorList list_tensors(const std::string& model, const HubSettings& settings);

}  // namespace lockstep
