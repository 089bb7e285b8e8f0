// model.safetensors.index.json.
#include "hub/shard_index.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "base/text.h"
#include "hub/hub_id.h"
#include "lockstep/error.h"

namespace lockstep {
namespace {

namespace dom = simdjson::dom;

[[noreturn]] void fail(const std::string& file, const std::string& what) {
  throw Error(ErrorCode::kInvalidArgument, file + ": " + what,
              "the file is damaged, or was edited by hand; fetch it again");
}

dom::object weight_map(dom::object root, const std::string& file) {
  std::optional<dom::element> found;
  for (const dom::key_value_pair field : root) {
    if (field.key != "weight_map") continue;
    if (found.has_value()) fail(file, "weight_map: expected once, found twice");
    found = field.value;
  }
  if (!found.has_value()) fail(file, "weight_map: expected an object, found no such key");
  dom::object map;
  if (found->get(map) != simdjson::SUCCESS) {
    fail(file, "weight_map: expected an object, found something else");
  }
  return map;
}

}  // namespace

std::vector<std::string> ShardIndex::shards() const {
  std::unordered_set<std::string_view> names;
  for (const auto& [tensor, shard] : weights) names.insert(shard);
  std::vector<std::string> sorted(names.begin(), names.end());
  std::sort(sorted.begin(), sorted.end());
  return sorted;
}

ShardIndex parse_shard_index(std::string_view json, std::string file) {
  dom::parser parser(kMaxIndexBytes);
  dom::object root;
  if (const auto error = parser.parse(json.data(), json.size()).get(root);
      error != simdjson::SUCCESS) {
    fail(file, fmt::format("expected a JSON object, found: {}", simdjson::error_message(error)));
  }
  ShardIndex index;
  index.file = std::move(file);
  const dom::object map = weight_map(root, index.file);
  std::unordered_set<std::string_view> names;
  names.reserve(map.size());
  index.weights.reserve(map.size());
  for (const dom::key_value_pair field : map) {
    std::string_view shard;
    if (field.value.get(shard) != simdjson::SUCCESS) {
      fail(index.file, fmt::format("weight_map: {}: expected a file name, found something else",
                                   quote_text(field.key)));
    }
    if (!stays_inside(shard)) {
      fail(index.file, fmt::format("weight_map: {}: expected a file inside the folder, found {}",
                                   quote_text(field.key), quote_text(shard)));
    }
    if (!names.insert(field.key).second) {
      fail(index.file,
           fmt::format("weight_map: {}: expected once, found twice", quote_text(field.key)));
    }
    index.weights.emplace_back(field.key, shard);
  }
  return index;
}

ShardIndex read_shard_index(const std::filesystem::path& path) {
  return parse_shard_index(read_text_file(path, kMaxIndexBytes), path.string());
}

void check_agreement(const ShardIndex& index, std::span<const ShardHeader> headers) {
  const auto refuse = [&](const std::string& what) {
    throw Error(ErrorCode::kFailedPrecondition, index.file + ": " + what,
                "index and shards are of different versions; fetch both again");
  };
  std::unordered_map<std::string_view, size_t> number_of;
  std::vector<std::unordered_set<std::string_view>> stored(headers.size());
  for (size_t i = 0; i < headers.size(); ++i) {
    number_of.emplace(headers[i].shard, i);
    stored[i].reserve(headers[i].tensors.size());
    for (const TensorEntry& entry : headers[i].tensors) stored[i].insert(entry.name);
  }
  std::unordered_map<std::string_view, size_t> expected;
  expected.reserve(index.weights.size());
  for (const auto& [name, shard] : index.weights) {
    const size_t i = number_of.at(shard);
    expected.emplace(name, i);
    if (!stored[i].contains(name)) {
      refuse(fmt::format("tensor {}: expected in {}, found no such tensor there", quote_text(name),
                         headers[i].place));
    }
  }
  for (size_t i = 0; i < headers.size(); ++i) {
    for (const TensorEntry& entry : headers[i].tensors) {
      const auto found = expected.find(entry.name);
      if (found == expected.end()) {
        refuse(fmt::format("tensor {}: found in {}, expected every tensor of a shard in the index",
                           quote_text(entry.name), headers[i].place));
      } else if (found->second != i) {
        refuse(fmt::format("tensor {}: expected in {} alone, found in {} too",
                           quote_text(entry.name), headers[found->second].place, headers[i].place));
      }
    }
  }
}

}  // namespace lockstep
