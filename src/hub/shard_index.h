// model.safetensors.index.json: which shard holds which tensor, and whether the shards agree.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tensor/safetensors.h"

namespace lockstep {

inline constexpr std::string_view kSingleFile = "model.safetensors";
inline constexpr std::string_view kIndexFile = "model.safetensors.index.json";
inline constexpr size_t kMaxIndexBytes = 128u << 20;

struct ShardIndex {
  std::string file;                                          // for messages
  std::vector<std::pair<std::string, std::string>> weights;  // tensor, shard; in the file's order

  /// The names of the shards, sorted, each once.
  std::vector<std::string> shards() const;
};

/// Throws kInvalidArgument naming `file`, the tensor, expected and found: JSON, one weight_map of
/// strings, no tensor twice, every shard inside the folder.
ShardIndex parse_shard_index(std::string_view json, std::string file);
ShardIndex read_shard_index(const std::filesystem::path& path);

/// The header of the shard of that name, which `place` (a path or URL) names in messages.
struct ShardHeader {
  std::string shard, place;
  std::span<const TensorEntry> tensors;
};

/// `headers`: one for each of index.shards(), in that order. Throws kFailedPrecondition unless
/// index and headers say the same, both ways, naming the tensor and both places.
void check_agreement(const ShardIndex& index, std::span<const ShardHeader> headers);

}  // namespace lockstep
