// JSON in and out of values.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "text/jinja_value.h"

namespace lockstep::jinja {

/// Members keep their order. Throws ValueError for text that is not UTF-8.
Value from_json(const nlohmann::ordered_json& json);

struct JsonStyle {
  bool ascii = false;
  bool pretty = false;  ///< one item a line
  std::string indent;   ///< of each level, when pretty
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool sort_keys = false;
};
/// json.dumps(value). Throws TypeError for what JSON lacks, as Python does.
std::string to_json(const Value& value, const JsonStyle& style);

}  // namespace lockstep::jinja
