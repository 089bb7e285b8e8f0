// Any bytes as a config.json: an Error, or a config whose every key can be read.
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "hub/config.h"
#include "lockstep/error.h"

namespace {

using lockstep::ConfigFile;

void read_all(const ConfigFile& config, const std::string& path, int depth) {
  switch (config.kind(path)) {
    case ConfigFile::Kind::kInt:
      if (config.get_number(path) != static_cast<double>(config.get_int(path))) std::abort();
      break;
    case ConfigFile::Kind::kFloat:
      static_cast<void>(config.get_number(path));
      break;
    case ConfigFile::Kind::kBool:
      static_cast<void>(config.get_bool(path));
      break;
    case ConfigFile::Kind::kString:
      static_cast<void>(config.get_string(path).size());
      break;
    case ConfigFile::Kind::kArray:
      for (size_t i = 0; i < config.length(path) && i < 8 && depth < 3; ++i) {
        read_all(config, path + "." + std::to_string(i), depth + 1);
      }
      break;
    case ConfigFile::Kind::kObject:
      for (const char* key : {"rope_type", "rope_theta", "factor", "full_attention", "a", "b"}) {
        if (depth < 3) read_all(config, path + "." + key, depth + 1);
      }
      break;
    case ConfigFile::Kind::kNull:
    case ConfigFile::Kind::kAbsent:
      break;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const ConfigFile config = ConfigFile::parse(text, "fuzz");
    // Two parsers must agree on what JSON is, but for the numbers that JSON lacks.
    const bool has_special = text.find("NaN") != text.npos || text.find("Infinity") != text.npos;
    if (!has_special && !nlohmann::json::accept(text)) std::abort();
    for (const std::string& key : config.unread()) read_all(config, key, 0);
    read_all(config, "rope_parameters", 0);
    read_all(config, "text_config.rope_parameters", 0);
    read_all(config, "dtype", 0);
    static_cast<void>(config.unread());
  } catch (const lockstep::Error&) {
  }
  return 0;
}
