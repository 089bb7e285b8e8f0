#include "port/candidate.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>
#include <string_view>
#include <utility>

#include "base/text.h"
#include "hub/json_tree.h"

namespace lockstep::port {
namespace {

using nlohmann::ordered_json;

// JSON has no word for these; ConfigFile reads transformers' way to say them.
ordered_json number_of(double number) {
  if (std::isnan(number)) return {{"__float__", "NaN"}};
  if (std::isinf(number)) return {{"__float__", number > 0 ? "Infinity" : "-Infinity"}};
  return number;
}

ordered_json json_of(const JsonNode& node) {
  switch (node.kind) {
    case ConfigFile::Kind::kBool:
      return node.boolean;
    case ConfigFile::Kind::kInt:
      return node.integer;
    case ConfigFile::Kind::kFloat:
      return number_of(node.number);
    case ConfigFile::Kind::kString:
      return node.text;
    case ConfigFile::Kind::kArray: {
      ordered_json array = ordered_json::array();
      for (const JsonNodePtr& element : node.elements) array.push_back(json_of(*element));
      return array;
    }
    case ConfigFile::Kind::kObject: {
      ordered_json object = ordered_json::object();
      for (const JsonMember& member : node.members) object[member.first] = json_of(*member.second);
      return object;
    }
    default:
      return nullptr;
  }
}

constexpr std::string_view kTextKeys[] = {"text_config", "language_config", "llm_config"};
constexpr std::string_view kTextParts[] = {"language_model", "text_model", "llm"};
// What a wrapper says at its top for its text part as well.
constexpr std::string_view kShared[] = {"architectures", "dtype", "torch_dtype",
                                        "tie_word_embeddings", "quantization_config"};

std::string text_key(const ordered_json& config) {
  if (config.contains("hidden_size") || config.contains("num_hidden_layers")) return "";
  for (const std::string_view key : kTextKeys) {
    const auto at = config.find(key);
    if (at != config.end() && at->is_object()) return std::string(key);
  }
  return "";
}

ordered_json unwrapped(const ordered_json& config, const std::string& key) {
  ordered_json text = config[key];
  for (const std::string_view shared : kShared) {
    const auto at = config.find(shared);
    if (at != config.end() && !text.contains(shared)) text[std::string(shared)] = *at;
  }
  return text;
}

// Where a component of `name` is one of the text part's names: [begin, end) with its dot.
std::pair<size_t, size_t> text_component(std::string_view name) {
  for (size_t begin = 0; begin < name.size();) {
    const size_t end = std::min(name.find('.', begin), name.size());
    const std::string_view part = name.substr(begin, end - begin);
    if (std::ranges::find(kTextParts, part) != std::end(kTextParts)) return {begin, end + 1};
    begin = end + 1;
  }
  return {0, 0};
}

bool is_head(std::string_view name) {
  return name.starts_with("lm_head.") || name.find(".lm_head.") != std::string_view::npos;
}

// Keeps the text part's tensors under the names that it would have alone.
std::vector<TensorEntry> text_tensors(const std::vector<TensorEntry>& all, Candidate& candidate) {
  std::vector<TensorEntry> kept;
  std::set<std::string> foreign;
  for (const TensorEntry& entry : all) {
    const auto [begin, end] = text_component(entry.name);
    if (end == 0 && !is_head(entry.name)) {
      ++candidate.n_foreign;
      const std::string_view name = entry.name;
      const size_t first = name.find('.');
      const bool in_model = name.starts_with("model.");
      foreign.emplace(name.substr(0, in_model ? name.find('.', first + 1) : first));
      continue;
    }
    kept.push_back(entry);
    if (end == 0) continue;
    if (candidate.wrapper_prefix.empty()) candidate.wrapper_prefix = entry.name.substr(0, end);
    kept.back().name.erase(begin, end - begin);
  }
  candidate.foreign.assign(foreign.begin(), foreign.end());
  return kept;
}

}  // namespace

Candidate Candidate::of(const ModelFacts& facts) {
  const JsonNodePtr root = parse_json_tree(facts.config.text(), facts.config.file());
  Candidate candidate{.config = json_of(*root),
                      .headers = Checkpoint::from_headers({}),
                      .class_name = facts.class_name,
                      .model_type = facts.model_type,
                      .wrapper_key = {},
                      .wrapper_prefix = {},
                      .n_foreign = 0,
                      .foreign = {}};
  candidate.wrapper_key = text_key(candidate.config);
  if (candidate.wrapper_key.empty()) {
    candidate.headers = Checkpoint::from_headers(facts.tensors.tensors);
    return candidate;
  }
  candidate.config = unwrapped(candidate.config, candidate.wrapper_key);
  const auto is_inside = [](const TensorEntry& e) { return text_component(e.name).second != 0; };
  candidate.headers = Checkpoint::from_headers(std::ranges::any_of(facts.tensors.tensors, is_inside)
                                                   ? text_tensors(facts.tensors.tensors, candidate)
                                                   : facts.tensors.tensors);
  return candidate;
}

std::string shown_value(const ordered_json& value) {
  constexpr size_t kMost = 60;
  if (value.is_string()) return quote_text(value.get_ref<const std::string&>());
  if (value.is_object() && value.contains("__float__")) return value["__float__"];
  const std::string text = value.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
  return text.size() <= kMost ? text : text.substr(0, kMost - 3) + "...";
}

const ordered_json* value_at(const ordered_json& config, std::string_view path) {
  const ordered_json* at = &config;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('.', begin), path.size());
    const std::string part(path.substr(begin, end - begin));
    if (at->is_object()) {
      const auto member = at->find(part);
      if (member == at->end()) return nullptr;
      at = &*member;
    } else if (at->is_array()) {
      size_t index = 0;
      const auto [stop, error] = std::from_chars(part.data(), part.data() + part.size(), index);
      if (error != std::errc() || stop != part.data() + part.size() || index >= at->size()) {
        return nullptr;
      }
      at = &(*at)[index];
    } else {
      return nullptr;
    }
    begin = end + 1;
  }
  return at;
}

}  // namespace lockstep::port
