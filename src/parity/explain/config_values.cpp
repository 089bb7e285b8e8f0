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

// Python writes Infinity and NaN, which JSON has not.
std::string as_json(std::string text) {
  const auto replace = [&](const std::string& word, const std::string& by) {
    for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) {
      const bool is_text = at > 0 && text[at - 1] == '"';
      if (!is_text) text.replace(at, word.size(), by);
    }
  };
  replace("Infinity", "1e300");
  replace("NaN", "null");
  return text;
}

}  // namespace

ConfigValues::ConfigValues(const std::vector<std::string>& documents) {
  for (const std::string& text : documents) {
    const auto json = nlohmann::json::parse(as_json(text), nullptr, /*allow_exceptions=*/false);
    if (!json.is_object()) continue;
    const nlohmann::json flat = json.flatten();
    for (const auto& [pointer, value] : flat.items()) {
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
