// Walls of quantised weights: how they are stored, and the scheme that config.json names.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>

#include "base/file.h"
#include "base/glob.h"
#include "base/text.h"
#include "lockstep/error.h"
#include "port/wall_check.h"

namespace lockstep::port {
namespace {

using Kind = ConfigFile::Kind;
using Level = Wall::Level;

// Quantises what is stored plain as well.
constexpr const char* kOnTheFly = "bitsandbytes";

bool is_quantised(const TensorEntry& entry) {
  constexpr std::array kNames = {"*.qweight",        "*.qzeros",        "*.g_idx",
                                 "*.weight_packed",  "*.weight_scale",  "*.weight_scale_inv",
                                 "*.weight_scale_2", "*.absmax",        "*.quant_map",
                                 "*.quant_state.*",  "*.SCB",           "*_blocks",
                                 "*_scales",         "*.weight_format", "*.weight_zero_point"};
  if (entry.dtype == DType::kFloat8E4M3 || entry.dtype == DType::kFloat8E5M2) return true;
  const bool is_byte = entry.dtype == DType::kInt8 || entry.dtype == DType::kUint8;
  // Masks that older checkpoints keep are bytes, too.
  if (is_byte && entry.name.ends_with("weight")) return true;
  return std::ranges::any_of(kNames,
                             [&](const char* name) { return glob_match(name, entry.name); });
}

struct QuantisedTensors {
  size_t n = 0;
  std::string first, dtype;
};

QuantisedTensors count_quantised(const WallContext& context) {
  QuantisedTensors found;
  for (const TensorEntry& entry : context.facts.tensors.tensors) {
    if (!is_quantised(entry)) continue;
    if (found.n++ > 0) continue;
    found.first = entry.name;
    found.dtype = dtype_safetensors_name(entry.dtype);
  }
  return found;
}

// What config.json, or a file that quantisers write beside it, says of the scheme.
struct Scheme {
  std::string source;                       // "quantization_config", or the file
  std::shared_ptr<const ConfigKeys> owner;  // of a file's keys
  std::vector<ConfigKey> keys;

  const ConfigKey* first(std::initializer_list<std::string_view> names) const {
    for (const std::string_view name : names) {
      for (const ConfigKey& key : keys) {
        if (key.name == name && key.is_set()) return &key;
      }
    }
    return nullptr;
  }
  std::string method() const {
    if (const ConfigKey* key = first({"quant_method", "quant_type", "quant_algo"})) {
      if (key->node->kind == Kind::kString) return key->node->text;
      return shown_value(*key->node);
    }
    if (first({"load_in_4bit", "load_in_8bit", "_load_in_4bit", "_load_in_8bit"}) != nullptr) {
      return kOnTheFly;
    }
    return first({"bits", "num_bits", "w_bit", "quant_mode", "config_groups"}) != nullptr
               ? "a method that is not named"
               : "";
  }
};

bool is_scheme_root(const ConfigKey& key) {
  constexpr std::array<std::string_view, 4> kRoots = {"quantization_config", "compression_config",
                                                      "quant_config", "quantization"};
  return std::ranges::find(kRoots, key.name) != kRoots.end() && key.node->kind != Kind::kNull &&
         key.node->kind != Kind::kBool;
}

Scheme scheme_of(const WallContext& context) {
  Scheme scheme;
  for (const ConfigKey& key : context.keys.all()) {
    if (scheme.source.empty() && is_scheme_root(key)) scheme.source = key.path;
  }
  for (const ConfigKey& key : context.keys.all()) {
    if (!scheme.source.empty() && key.path.starts_with(scheme.source + ".")) {
      scheme.keys.push_back(key);
    }
  }
  if (!scheme.source.empty()) return scheme;
  for (const char* name : {"quantize_config.json", "quant_config.json", "hf_quant_config.json"}) {
    if (!context.has_file(name)) continue;
    try {
      const std::string path = (context.facts.folder / name).string();
      scheme.owner = std::make_shared<const ConfigKeys>(read_text_file(path), path);
      scheme.keys = scheme.owner->all();
      scheme.source = name;
      return scheme;
    } catch (const Error&) {
      scheme.source = name;
      return scheme;
    }
  }
  return scheme;
}

std::string detail(const Scheme& scheme) {
  std::vector<std::string> parts;
  const auto add = [&](const char* what, std::initializer_list<std::string_view> names) {
    if (const ConfigKey* key = scheme.first(names)) {
      parts.push_back(fmt::format("{} {}", what, shown_value(*key->node, 80)));
    }
  };
  add("bits", {"bits", "num_bits", "w_bit"});
  add("format", {"fmt", "format", "version", "bnb_4bit_quant_type"});
  add("strategy", {"strategy"});
  add("group", {"group_size", "q_group_size", "weight_block_size"});
  add("activations", {"activation_scheme", "input_activations"});
  add("left alone", {"ignore", "modules_to_not_convert", "ignored_layers", "llm_int8_skip_modules",
                     "exclude_modules", "unquantized_modules"});
  return fmt::format("{}", fmt::join(parts, ", "));
}

// The repository that the card says these weights were made from.
std::string base_model(const std::string& front_matter) {
  const size_t at = front_matter.find("base_model:");
  if (at == std::string::npos || (at > 0 && front_matter[at - 1] != '\n')) return "";
  size_t begin = front_matter.find_first_not_of(" \t\r\n-", at + 11);
  if (begin == std::string::npos) return "";
  const size_t end = front_matter.find_first_of(" \t\r\n", begin);
  std::string name = front_matter.substr(begin, end - begin);
  std::erase_if(name, [](char c) { return c == '"' || c == '\'' || c == '[' || c == ']'; });
  return name.find('/') != std::string::npos && name.size() < 100 ? name : "";
}

std::string way_out(const WallContext& context) {
  const std::string base = base_model(context.facts.front_matter);
  return fmt::format(
      "{}; or let transformers turn them into bfloat16 (from_pretrained with its dequantize "
      "option, then save_pretrained) and port that",
      base.empty() ? std::string("take a repository of the same model in bfloat16")
                   : "take " + quote_text(base) + ", which these weights were made from");
}

}  // namespace

void check_quantised_weights(const WallContext& context, Walls& walls) {
  if (context.is_complete) return;
  const QuantisedTensors found = count_quantised(context);
  std::string evidence;
  if (found.n > 0) {
    evidence = fmt::format("tensor {} ({}), one of {} such", found.first, found.dtype, found.n);
  } else if (context.facts.no_tensors.find("dtype") != std::string::npos) {
    // A type that the format has and DType lacks: F4, F8_E8M0, ...
    evidence = context.facts.no_tensors;
  } else {
    const Scheme scheme = scheme_of(context);
    const bool is_stored = !scheme.method().empty() && scheme.method() != kOnTheFly;
    if (is_stored) evidence = fmt::format("{}: {}", scheme.source, scheme.method());
  }
  if (evidence.empty()) return;
  walls.push_back({Level::kBlock, "quant_only",
                   "the weights are published quantised alone, and no kernel reads them", evidence,
                   way_out(context)});
}

void check_quantisation_scheme(const WallContext& context, Walls& walls) {
  if (context.is_complete && count_quantised(context).n > 0) return;
  const Scheme scheme = scheme_of(context);
  if (scheme.source.empty()) return;
  const std::string method = scheme.method();
  const ConfigKey* key = context.keys.at(scheme.source);
  const std::string evidence = key == nullptr ? "file " + scheme.source : key->shown();
  if (method.empty()) {
    walls.push_back({Level::kWarn, "quant_scheme",
                     "a quantisation is configured whose method is not named", evidence,
                     "check that the weights are plain (`lockstep list-keys MODEL --summary`)"});
    return;
  }
  const std::string more = detail(scheme);
  walls.push_back({Level::kBlock, "quant_scheme",
                   fmt::format("weights quantised by {}{}{}: this build has no kernel for it",
                               quote_text(method), more.empty() ? "" : ", ", more),
                   evidence, way_out(context)});
}

}  // namespace lockstep::port
