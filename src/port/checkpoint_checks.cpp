#include "port/checkpoint_checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "base/file.h"
#include "base/text.h"
#include "hub/shard_index.h"
#include "port/config_keys.h"
#include "port/key_patterns.h"

namespace lockstep::port {
namespace {

std::optional<int64_t> find_int(const ConfigKeys& keys, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const ConfigKey* key = keys.find(name);
    if (key != nullptr && key->node->kind == ConfigFile::Kind::kInt) return key->node->integer;
  }
  return {};
}

bool is_readable(DType dtype) {
  return dtype == DType::kFloat32 || dtype == DType::kBFloat16 || dtype == DType::kFloat16;
}

// Numbers behind the first run of words that is followed by one: "model.layers" -> {0, 1, 2}.
std::map<std::string, std::set<int64_t>> numbered_modules(const TensorList& list) {
  std::map<std::string, std::set<int64_t>> found;
  for (const TensorEntry& entry : list.tensors) {
    const std::string& name = entry.name;
    for (size_t begin = 0; begin < name.size();) {
      const size_t end = std::min(name.find('.', begin), name.size());
      int64_t number = 0;
      const auto [stop, error] = std::from_chars(name.data() + begin, name.data() + end, number);
      if (error == std::errc{} && stop == name.data() + end && begin > 0 && number >= 0) {
        found[name.substr(0, begin - 1)].insert(number);
        break;
      }
      begin = end + 1;
    }
  }
  return found;
}

void check_layers(const ConfigKeys& keys, const TensorList& list, CheckpointFacts& facts) {
  const auto expected = find_int(keys, {"num_hidden_layers", "n_layer", "num_layers", "n_layers"});
  const auto modules = numbered_modules(list);
  if (!expected || modules.empty()) return;
  // A wrapper has several stacks; the one that fits is the text's.
  const auto fits = [&](const auto& m) {
    return static_cast<int64_t>(m.second.size()) == *expected &&
           *m.second.rbegin() + 1 == *expected;
  };
  if (std::ranges::any_of(modules, fits)) return;
  const auto& [prefix, numbers] =
      *std::ranges::max_element(modules, {}, [](const auto& m) { return m.second.size(); });
  const int64_t last = *numbers.rbegin();
  std::string missing;
  for (int64_t i = 0, n = 0; i < *expected && n < 4; ++i) {
    if (numbers.contains(i)) continue;
    missing += fmt::format("{}{}", n++ == 0 ? "" : ", ", i);
  }
  if (!missing.empty()) {
    facts.faults.push_back(fmt::format("{}: expected layers 0 to {} (config.json), no tensor of {}",
                                       prefix, *expected - 1, missing));
  } else {
    facts.warnings.push_back(
        fmt::format("{}: layers up to {} are stored, config.json has {}: extra ones are dropped "
                    "with a reason",
                    prefix, last, *expected));
  }
}

void check_vocabulary(const ConfigKeys& keys, const TensorList& list, CheckpointFacts& facts) {
  const auto expected = find_int(keys, {"vocab_size"});
  if (!expected) return;
  constexpr std::string_view kNames[] = {"embed_tokens.weight", "wte.weight",
                                         "word_embeddings.weight", "embed_in.weight",
                                         "tok_embeddings.weight"};
  for (const TensorEntry& entry : list.tensors) {
    const bool is_table =
        entry.shape.size() == 2 && std::ranges::any_of(kNames, [&](std::string_view name) {
          return entry.name.ends_with(name);
        });
    if (is_table && entry.shape[0] < *expected) {
      facts.faults.push_back(fmt::format("{}: {} rows, config.json has vocab_size {}", entry.name,
                                         entry.shape[0], *expected));
    }
  }
}

void check_dtypes(const TensorList& list, CheckpointFacts& facts) {
  std::map<DType, std::vector<std::string>> unread;
  uint64_t unread_bytes = 0, all_bytes = 0;
  for (const TensorEntry& entry : list.tensors) {
    all_bytes += entry.end - entry.begin;
    if (is_readable(entry.dtype)) continue;
    unread_bytes += entry.end - entry.begin;
    unread[entry.dtype].push_back(entry.name);
  }
  for (const auto& [dtype, names] : unread) {
    const std::string text =
        fmt::format("{} {}: {}", counted(names.size(), "tensor"), dtype_safetensors_name(dtype),
                    fmt::join(pattern_lines(names, 2), ", "));
    // A buffer (a mask, position ids) is nothing; weights are.
    const bool are_weights = is_floating(dtype) || unread_bytes > all_bytes / 50;
    (are_weights ? facts.faults : facts.warnings)
        .push_back(text + (are_weights ? "; no kernel reads them" : "; read as no weight"));
  }
}

void check_index(const std::filesystem::path& folder, uint64_t n_bytes, CheckpointFacts& facts) {
  const std::filesystem::path file = folder / kIndexFile;
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(file, ignored)) return;
  const nlohmann::json index = nlohmann::json::parse(read_text_file(file, kMaxIndexBytes), nullptr,
                                                     /*allow_exceptions=*/false);
  const nlohmann::json::json_pointer place("/metadata/total_size");
  if (!index.is_object() || !index.contains(place) || !index[place].is_number_unsigned()) return;
  const auto total = index[place].get<uint64_t>();
  if (total != n_bytes) {
    facts.warnings.push_back(
        fmt::format("the index says {} bytes, the headers {}", total, n_bytes));
  }
}

}  // namespace

DType dominant_dtype(const TensorList& list) {
  std::map<DType, uint64_t> bytes;
  for (const TensorEntry& entry : list.tensors) bytes[entry.dtype] += entry.end - entry.begin;
  const auto most = std::ranges::max_element(bytes, {}, [](const auto& b) { return b.second; });
  return most == bytes.end() ? DType::kFloat32 : most->first;
}

CheckpointFacts check_checkpoint(const ModelFacts& model) {
  const TensorList& list = model.tensors;
  const ConfigKeys keys(model.config.text(), model.config.file());
  CheckpointFacts facts;
  uint64_t n_bytes = 0, n_parameters = 0;
  std::set<std::string_view> dtypes;
  for (const TensorEntry& entry : list.tensors) {
    n_bytes += entry.end - entry.begin;
    n_parameters += (entry.end - entry.begin) / dtype_size(entry.dtype);
    dtypes.insert(dtype_safetensors_name(entry.dtype));
  }
  facts.summary =
      fmt::format("{}, {}, {} parameters ({})", counted(list.n_files, "file"),
                  counted(list.tensors.size(), "tensor"), n_parameters, fmt::join(dtypes, ", "));
  if (list.tensors.empty()) facts.faults.push_back("there is no tensor");
  check_layers(keys, list, facts);
  check_vocabulary(keys, list, facts);
  check_dtypes(list, facts);
  check_index(model.folder, n_bytes, facts);
  return facts;
}

}  // namespace lockstep::port
