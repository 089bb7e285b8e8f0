// The weights of a model folder as one name space.
#include "hub/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "hub/shard_index.h"
#include "lockstep/error.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

// Also true for a link that leads nowhere, so that the error says so.
bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::symlink_status(path, ignored).type() != fs::file_type::not_found;
}

// "a, b and 3 more".
std::string listed(const std::vector<std::string>& names) {
  constexpr size_t kShown = 5;
  const size_t n = std::min(names.size(), kShown);
  std::string out = fmt::format("{}", fmt::join(names.begin(), names.begin() + n, ", "));
  if (names.size() > n) out += fmt::format(" and {} more", names.size() - n);
  return out;
}

std::vector<SafetensorsFile> open_shards(const fs::path& folder, const ShardIndex& index) {
  const std::vector<std::string> shards = index.shards();
  std::vector<std::string> missing;
  for (const std::string& shard : shards) {
    if (!is_there(folder / shard)) missing.push_back(shard);
  }
  if (!missing.empty()) {
    throw Error(
        ErrorCode::kNotFound,
        fmt::format("{}: expected the {} shards of {}, found {} missing: {}", folder.string(),
                    shards.size(), kIndexFile, missing.size(), listed(missing)),
        "the download is not complete; fetch the missing files");
  }
  std::vector<SafetensorsFile> files;
  files.reserve(shards.size());
  for (const std::string& shard : shards) files.push_back(SafetensorsFile::open(folder / shard));
  std::vector<ShardHeader> headers;
  headers.reserve(shards.size());
  for (size_t i = 0; i < shards.size(); ++i) {
    headers.push_back({shards[i], files[i].path().string(), files[i].tensors()});
  }
  check_agreement(index, headers);
  return files;
}

[[noreturn]] void refuse_folder(const fs::path& folder) {
  std::error_code ignored;
  std::vector<std::string> other_weights, other_safetensors;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename().string();
    const std::string extension = entry.path().extension().string();
    if (extension == ".bin" || extension == ".pt" || extension == ".pth" || extension == ".ckpt") {
      other_weights.push_back(name);
    } else if (extension == ".safetensors") {
      other_safetensors.push_back(name);
    }
  }
  std::sort(other_weights.begin(), other_weights.end());
  std::sort(other_safetensors.begin(), other_safetensors.end());
  if (!other_safetensors.empty()) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("{}: expected {} or {}, found {}", folder.string(), kSingleFile,
                            kIndexFile, listed(other_safetensors)),
                "give the weights the name that transformers loads");
  }
  if (!other_weights.empty()) {
    throw Error(ErrorCode::kUnimplemented,
                fmt::format("{}: expected weights as safetensors, found only pickled ones: {}",
                            folder.string(), listed(other_weights)),
                "convert them with transformers: model.save_pretrained(folder)");
  }
  throw Error(ErrorCode::kNotFound,
              fmt::format("{}: expected {} or {}, found no weights", folder.string(), kSingleFile,
                          kIndexFile),
              "check that the download is complete");
}

}  // namespace

Checkpoint Checkpoint::open(const fs::path& folder) {
  Checkpoint checkpoint;
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored)) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("{}: expected a model folder, found {}", folder.string(),
                            is_there(folder) ? "a file" : "nothing"),
                "name the folder that holds config.json and the weights");
  }
  if (is_there(folder / kSingleFile)) {
    // transformers too takes the single file when both are there.
    checkpoint.files_.push_back(SafetensorsFile::open(folder / kSingleFile));
  } else if (is_there(folder / kIndexFile)) {
    checkpoint.files_ = open_shards(folder, read_shard_index(folder / kIndexFile));
  } else {
    refuse_folder(folder);
  }
  for (size_t i = 0; i < checkpoint.files_.size(); ++i) {
    const std::vector<TensorEntry>& tensors = checkpoint.files_[i].tensors();
    checkpoint.tensors_.insert(checkpoint.tensors_.end(), tensors.begin(), tensors.end());
    checkpoint.file_index_.resize(checkpoint.tensors_.size(), static_cast<uint32_t>(i));
  }
  checkpoint.by_name_.reserve(checkpoint.tensors_.size());
  for (size_t i = 0; i < checkpoint.tensors_.size(); ++i) {
    checkpoint.by_name_.emplace(checkpoint.tensors_[i].name, static_cast<uint32_t>(i));
  }
  return checkpoint;
}

Checkpoint Checkpoint::from_headers(std::vector<TensorEntry> tensors) {
  Checkpoint checkpoint;
  checkpoint.tensors_ = std::move(tensors);
  for (size_t i = 0; i < checkpoint.tensors_.size(); ++i) {
    const std::string& name = checkpoint.tensors_[i].name;
    if (!checkpoint.by_name_.emplace(name, static_cast<uint32_t>(i)).second) {
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("headers: tensor {}: expected once, found twice", quote_text(name)));
    }
  }
  return checkpoint;
}

const TensorEntry* Checkpoint::find(std::string_view name) const noexcept {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &tensors_[found->second];
}

View Checkpoint::view(const TensorEntry& entry) const {
  const auto found = by_name_.find(entry.name);
  if (found == by_name_.end()) {
    throw Error(ErrorCode::kNotFound, fmt::format("tensor {}: expected in the checkpoint, found "
                                                  "none of that name",
                                                  quote_text(entry.name)));
  }
  if (files_.empty()) {
    throw Error(ErrorCode::kFailedPrecondition,
                fmt::format("tensor {}: expected data, found a checkpoint of headers alone",
                            quote_text(entry.name)),
                "open the model folder with its weights");
  }
  return files_[file_index_[found->second]].view(entry);
}

std::string Checkpoint::file_of(const TensorEntry& entry) const {
  const auto found = by_name_.find(entry.name);
  if (files_.empty() || found == by_name_.end()) return "(headers)";
  return files_[file_index_[found->second]].path().string();
}

}  // namespace lockstep
