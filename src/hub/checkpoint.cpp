// The weights of a model folder as one name space; finding the folder.
#include "hub/checkpoint.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <optional>
#include <unordered_set>
#include <utility>

#include "base/text.h"
#include "lockstep/error.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
namespace dom = simdjson::dom;

constexpr std::string_view kSingle = "model.safetensors";
constexpr std::string_view kIndex = "model.safetensors.index.json";
constexpr size_t kMaxIndexBytes = 128u << 20;

// Also true for a link that leads nowhere, so that the error says so.
bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::symlink_status(path, ignored).type() != fs::file_type::not_found;
}

// In memory order of the index: tensor name -> shard name.
using WeightMap = std::vector<std::pair<std::string, std::string>>;

[[noreturn]] void fail_index(const std::string& file, const std::string& what) {
  throw Error(ErrorCode::kInvalidArgument, file + ": " + what,
              "the file is damaged, or was edited by hand; fetch it again");
}

// A shard lies in the folder, or below it: an index comes from a stranger.
bool stays_inside(std::string_view name) {
  if (name.empty() || name.find('\0') != std::string_view::npos) return false;
  const fs::path path(name);
  if (path.is_absolute() || !path.has_filename()) return false;
  return std::none_of(path.begin(), path.end(), [](const fs::path& part) { return part == ".."; });
}

WeightMap read_index(const fs::path& path) {
  const std::string file = path.string();
  const std::string text = read_text_file(path, kMaxIndexBytes);
  dom::parser parser(kMaxIndexBytes);
  dom::object root;
  if (const auto error = parser.parse(text).get(root); error != simdjson::SUCCESS) {
    fail_index(file,
               fmt::format("expected a JSON object, found: {}", simdjson::error_message(error)));
  }
  std::optional<dom::element> found;
  for (const dom::key_value_pair field : root) {
    if (field.key != "weight_map") continue;
    if (found.has_value()) fail_index(file, "weight_map: expected once, found twice");
    found = field.value;
  }
  if (!found.has_value()) fail_index(file, "weight_map: expected an object, found no such key");
  dom::object map;
  if (found->get(map) != simdjson::SUCCESS) {
    fail_index(file, "weight_map: expected an object, found something else");
  }
  WeightMap weights;
  std::unordered_set<std::string_view> names;
  for (const dom::key_value_pair field : map) {
    std::string_view shard;
    if (field.value.get(shard) != simdjson::SUCCESS) {
      fail_index(file, fmt::format("weight_map: {}: expected a file name, found something else",
                                   quote_text(field.key)));
    }
    if (!stays_inside(shard)) {
      fail_index(file, fmt::format("weight_map: {}: expected a file inside the folder, found {}",
                                   quote_text(field.key), quote_text(shard)));
    }
    if (!names.insert(field.key).second) {
      fail_index(file,
                 fmt::format("weight_map: {}: expected once, found twice", quote_text(field.key)));
    }
    weights.emplace_back(field.key, shard);
  }
  return weights;
}

// "a, b and 3 more".
std::string listed(const std::vector<std::string>& names) {
  constexpr size_t kShown = 5;
  const size_t n = std::min(names.size(), kShown);
  std::string out = fmt::format("{}", fmt::join(names.begin(), names.begin() + n, ", "));
  if (names.size() > n) out += fmt::format(" and {} more", names.size() - n);
  return out;
}

std::vector<SafetensorsFile> open_shards(const fs::path& folder, const WeightMap& weights,
                                         std::map<std::string, size_t>& shard_of) {
  std::vector<std::string> missing;
  for (const auto& [name, shard] : weights) {
    if (!shard_of.emplace(shard, 0).second) continue;
    if (!is_there(folder / shard)) missing.push_back(shard);
  }
  if (!missing.empty()) {
    throw Error(
        ErrorCode::kNotFound,
        fmt::format("{}: expected the {} shards of {}, found {} missing: {}", folder.string(),
                    shard_of.size(), kIndex, missing.size(), listed(missing)),
        "the download is not complete; fetch the missing files");
  }
  std::vector<SafetensorsFile> files;
  files.reserve(shard_of.size());
  for (auto& [shard, index] : shard_of) {
    index = files.size();
    files.push_back(SafetensorsFile::open(folder / shard));
  }
  return files;
}

// Index and shards must say the same, both ways.
void check_agreement(const fs::path& index, const WeightMap& weights,
                     const std::map<std::string, size_t>& shard_of,
                     const std::vector<SafetensorsFile>& files) {
  constexpr std::string_view kHint = "index and shards are of different versions; fetch both again";
  const auto refuse = [&](const std::string& what) {
    throw Error(ErrorCode::kFailedPrecondition, index.string() + ": " + what, std::string(kHint));
  };
  std::unordered_map<std::string_view, size_t> expected;
  expected.reserve(weights.size());
  for (const auto& [name, shard] : weights) {
    const size_t i = shard_of.at(shard);
    expected.emplace(name, i);
    if (files[i].find(name) == nullptr) {
      refuse(fmt::format("tensor {}: expected in {}, found no such tensor there", quote_text(name),
                         files[i].path().string()));
    }
  }
  for (size_t i = 0; i < files.size(); ++i) {
    for (const TensorEntry& entry : files[i].tensors()) {
      const auto found = expected.find(entry.name);
      if (found == expected.end()) {
        refuse(fmt::format("tensor {}: found in {}, expected every tensor of a shard in the index",
                           quote_text(entry.name), files[i].path().string()));
      } else if (found->second != i) {
        refuse(fmt::format("tensor {}: expected in {} alone, found in {} too",
                           quote_text(entry.name), files[found->second].path().string(),
                           files[i].path().string()));
      }
    }
  }
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
                fmt::format("{}: expected {} or {}, found {}", folder.string(), kSingle, kIndex,
                            listed(other_safetensors)),
                "give the weights the name that transformers loads");
  }
  if (!other_weights.empty()) {
    throw Error(ErrorCode::kUnimplemented,
                fmt::format("{}: expected weights as safetensors, found only pickled ones: {}",
                            folder.string(), listed(other_weights)),
                "convert them with transformers: model.save_pretrained(folder)");
  }
  throw Error(
      ErrorCode::kNotFound,
      fmt::format("{}: expected {} or {}, found no weights", folder.string(), kSingle, kIndex),
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
  if (is_there(folder / kSingle)) {
    // transformers too takes the single file when both are there.
    checkpoint.files_.push_back(SafetensorsFile::open(folder / kSingle));
  } else if (is_there(folder / kIndex)) {
    const WeightMap weights = read_index(folder / kIndex);
    std::map<std::string, size_t> shard_of;
    checkpoint.files_ = open_shards(folder, weights, shard_of);
    check_agreement(folder / kIndex, weights, shard_of, checkpoint.files_);
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
