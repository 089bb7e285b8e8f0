// Every key of config.json in one list, whatever it is nested in: where evidence is looked for.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "hub/json_tree.h"

namespace lockstep::port {

struct ConfigKey {
  std::string path;  // dotted: "text_config.num_hidden_layers"
  std::string name;  // its last part, in lower case
  const JsonNode* node;
  bool is_text;  // of the model that writes text: not below vision_config, quantization_config, ...

  /// Whether it is there and on: not null, false, 0, "", "none", [] or {}.
  bool is_set() const;
  /// "model_type = \"llama\"", on one line, cut where it is long.
  std::string shown() const;
  /// Its text in lower case; empty for what is no string.
  std::string text() const;
};

/// A value as JSON on one line, at most about `limit` bytes.
std::string shown_value(const JsonNode& node, size_t limit = 60);
std::string lower_case(std::string_view text);

class ConfigKeys {
 public:
  /// Throws as parse_json_tree().
  ConfigKeys(std::string_view json, const std::string& file);

  const std::vector<ConfigKey>& all() const { return keys_; }
  /// The key of that name that the text model has: below text_config or its like first, else at the
  /// top. nullptr where there is none.
  const ConfigKey* find(std::string_view name) const;
  /// By dotted path.
  const ConfigKey* at(std::string_view path) const;
  /// The first that is_text and is_set() and for which `wanted` holds.
  const ConfigKey* first(const std::function<bool(const ConfigKey&)>& wanted) const;
  /// A count of the text model, or `otherwise`.
  double number(std::string_view name, double otherwise) const;
  /// The path of the text model's own object ("text_config"); empty where that is the whole.
  const std::string& text_root() const { return text_root_; }

 private:
  void add(const JsonNode& object, const std::string& path, bool is_text);

  JsonNodePtr root_;
  std::vector<ConfigKey> keys_;
  std::string text_root_;
};

}  // namespace lockstep::port
