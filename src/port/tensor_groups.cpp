#include "port/tensor_groups.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <string_view>
#include <utility>

namespace lockstep::port {
namespace {

void note(TensorGroup::Names& names, std::string_view name) {
  std::set<int>& layers = names[pattern_of(name)];
  if (const int layer = layer_of(name); layer >= 0) layers.insert(layer);
}

// The name that a line of the audit begins with.
std::string_view name_of(const std::string& line) {
  return std::string_view(line).substr(0, line.find_first_of(": "));
}

// "0-2, 5"
std::string ranges_of(const std::set<int>& numbers) {
  std::string text;
  for (auto at = numbers.begin(); at != numbers.end();) {
    const int begin = *at;
    int end = begin;
    for (++at; at != numbers.end() && *at == end + 1; ++at) end = *at;
    text += text.empty() ? "" : ", ";
    text += begin == end ? fmt::format("{}", begin) : fmt::format("{}-{}", begin, end);
  }
  return text;
}

struct NameParts {
  std::string_view parent, module, leaf;
};

NameParts split(std::string_view name) {
  const size_t leaf = name.rfind('.');
  if (leaf == std::string_view::npos) return {{}, {}, name};
  const std::string_view path = name.substr(0, leaf);
  const size_t module = path.rfind('.');
  if (module == std::string_view::npos) return {{}, path, name.substr(leaf + 1)};
  return {path.substr(0, module), path.substr(module + 1), name.substr(leaf + 1)};
}

}  // namespace

std::map<Topic, TensorGroup> group_tensors(const Audit& audit) {
  std::map<Topic, TensorGroup> groups;
  for (const std::string& name : audit.surplus) note(groups[topic_of_tensor(name)].surplus, name);
  for (const std::string& line : audit.missing) {
    const std::string_view name = name_of(line);
    note(groups[topic_of_tensor(name)].missing, name);
  }
  for (const std::string& line : audit.mismatched) {
    const std::string_view name = name_of(line);
    TensorGroup& group = groups[topic_of_tensor(name)];
    if (group.mismatch.empty()) group.mismatch = line;
    note(group.mismatched, name);
  }
  return groups;
}

std::string shown_names(const TensorGroup::Names& names, int64_t n_layers) {
  // Modules of one parent whose parameters have one name, in the same layers.
  std::map<std::pair<std::string, std::set<int>>, std::vector<std::string_view>> modules;
  for (const auto& [name, layers] : names) {
    const NameParts parts = split(name);
    const std::string around = parts.parent.empty()
                                   ? fmt::format("@.{}", parts.leaf)
                                   : fmt::format("{}.@.{}", parts.parent, parts.leaf);
    modules[{around, layers}].push_back(parts.module);
  }
  std::string text;
  for (const auto& [key, members] : modules) {
    const auto& [around, layers] = key;
    const size_t at = around.find('@');
    const std::string inner = members.size() == 1 ? std::string(members.front())
                                                  : fmt::format("{{{}}}", fmt::join(members, ","));
    text += fmt::format("{}{}{}{}", text.empty() ? "" : ", ", around.substr(0, at), inner,
                        around.substr(at + 1));
    if (!layers.empty() && static_cast<int64_t>(layers.size()) < n_layers) {
      text += fmt::format(" (layer{} {})", layers.size() == 1 ? "" : "s", ranges_of(layers));
    }
  }
  return text;
}

}  // namespace lockstep::port
