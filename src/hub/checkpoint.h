// The weights of a model folder: one safetensors file, or shards under an index, as one name space.
#pragma once

#include <filesystem>
#include <memory>
#include <string_view>
#include <vector>

#include "hub/config.h"
#include "tensor/safetensors.h"

namespace lockstep {

class Checkpoint {
 public:
  /// Reads headers only (data is mapped, and touched when used). Checks that the index and the
  /// shards agree: every shard present, inside the folder, every name where the index says, no
  /// name twice. Throws naming file, tensor, expected and found; a folder that has only .bin
  /// weights is kUnimplemented, and says so.
  static Checkpoint open(const std::filesystem::path& folder);
  /// Headers without data, for dry builds and tests; view() throws kFailedPrecondition.
  static Checkpoint from_headers(std::vector<TensorEntry> tensors);

  const std::vector<TensorEntry>& tensors() const noexcept { return tensors_; }
  const TensorEntry* find(std::string_view name) const noexcept;
  View view(const TensorEntry& entry) const;
  /// The file that holds `entry`, for messages.
  std::string file_of(const TensorEntry& entry) const;
  size_t n_files() const noexcept { return files_.size(); }

 private:
  std::vector<SafetensorsFile> files_;
  std::vector<TensorEntry> tensors_;
  std::vector<uint32_t> file_index_;                        // parallel to tensors_
  std::unordered_map<std::string_view, uint32_t> by_name_;  // into tensors_
};

/// The folder that MODEL names: itself, or that of a Hub id in the local cache, as complete as it
/// is there. An id that the cache lacks is fetched without its weights, unless HF_HUB_OFFLINE is
/// set. Throws kNotFound saying what was looked for where, and as download_model() does.
std::filesystem::path find_model_folder(const std::string& model);

/// A Hugging Face model folder. `open` finds it as find_model_folder() does, and fetches the
/// weights of a Hub id where the cache lacks them.
struct ModelFiles {
  std::filesystem::path folder;
  ConfigFile config;
  Checkpoint checkpoint;

  static ModelFiles open(const std::string& model);
};

}  // namespace lockstep
