#include "parity/explain/config_values.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace lockstep::parity {
namespace {

template <class T>
const T* find(const std::vector<std::pair<std::string, T>>& values, std::string_view key) {
  for (const std::string prefix : {"", "text_config."}) {
    const std::string name = prefix + std::string(key);
    const auto at = std::ranges::find(values, name, &std::pair<std::string, T>::first);
    if (at != values.end()) return &at->second;
  }
  return nullptr;
}

}  // namespace

ConfigValues::ConfigValues(const std::vector<std::string>& documents) {
  for (const std::string& text : documents) {
    const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object()) continue;
    for (const auto& [pointer, value] : json.flatten().items()) {
      std::string key = pointer.substr(1);
      std::ranges::replace(key, '/', '.');
      if (value.is_boolean()) numbers_.emplace_back(key, value.get<bool>() ? 1 : 0);
      if (value.is_number()) numbers_.emplace_back(key, value.get<double>());
      if (value.is_string()) texts_.emplace_back(key, value.get<std::string>());
    }
  }
}

std::optional<double> ConfigValues::number(std::string_view key) const {
  const double* found = find(numbers_, key);
  return found == nullptr ? std::nullopt : std::optional(*found);
}

std::optional<std::string> ConfigValues::text(std::string_view key) const {
  const std::string* found = find(texts_, key);
  return found == nullptr ? std::nullopt : std::optional(*found);
}

}  // namespace lockstep::parity
