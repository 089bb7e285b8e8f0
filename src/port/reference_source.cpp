#include "port/reference_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "base/child_process.h"
#include "base/file.h"
#include "hub/hub_id.h"
#include "lockstep/error.h"

namespace lockstep::port {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxCodeBytes = 4u << 20;

// model_type as a folder's name; empty where a stranger wrote something else into it.
std::string safe_name(std::string name) {
  std::ranges::replace(name, '-', '_');
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  };
  return std::ranges::all_of(name, fits) ? lower_case(name) : "";
}

// "4.46.0" of "4.46.0.dev0"; the tag of a version that was never published is its branch.
std::string tag_of(const std::string& version) {
  const auto fits = [](char c) { return (c >= '0' && c <= '9') || c == '.'; };
  if (version.empty() || !std::ranges::all_of(version, fits)) return "main";
  return "v" + version;
}

std::string url_of(const std::string& version, const std::string& module_name) {
  if (module_name.empty()) return "";
  return fmt::format(
      "https://github.com/huggingface/transformers/blob/{}/src/transformers/models/{}/"
      "modeling_{}.py",
      tag_of(version), module_name, module_name);
}

// The file that auto_map names for causal models, "modeling_x.XForCausalLM", or the repository's
// only modelling file.
std::string custom_file(const ModelFacts& facts, const ConfigKeys& keys) {
  for (const char* name : {"AutoModelForCausalLM", "AutoModelForImageTextToText", "AutoModel"}) {
    const ConfigKey* key = keys.at(std::string("auto_map.") + name);
    if (key == nullptr || key->node->kind != ConfigFile::Kind::kString) continue;
    const std::string& place = key->node->text;
    const size_t repository = place.find("--");
    const size_t dot = place.rfind('.');
    if (repository != std::string::npos) return place.substr(0, dot) + ".py of another repository";
    return place.substr(0, dot) + ".py";
  }
  for (const std::string& file : facts.files) {
    if (file.starts_with("modeling_") && file.ends_with(".py")) return file;
  }
  return "";
}

// The folder of the installed package: asking for its place does not run it.
std::string package_folder(const std::string& python) {
  const std::optional<std::string> program = find_program(python);
  if (!program.has_value()) return "";
  const std::string script =
      "import importlib.util as u\n"
      "s = u.find_spec('transformers')\n"
      "print('at ' + (list(s.submodule_search_locations)[0] if s else ''))\n";
  std::string folder;
  try {
    run_child({*program, "-c", script}, ChildOutput::kLines, [&](std::string_view line) {
      if (line.starts_with("at ")) folder = line.substr(3);
    });
  } catch (const Error&) {
    return "";
  }
  return folder;
}

std::string version_of(const fs::path& package) {
  try {
    const std::string text = read_text_file(package / "__init__.py", kMaxCodeBytes);
    const size_t at = text.find("__version__ = \"");
    if (at == std::string::npos) return "";
    const size_t begin = at + 15;
    return text.substr(begin, text.find('"', begin) - begin);
  } catch (const Error&) {
    return "";
  }
}

struct ClassPlace {
  std::string name;
  size_t line;
};

std::vector<ClassPlace> classes_in(const fs::path& file) {
  std::vector<ClassPlace> found;
  std::string text;
  try {
    text = read_text_file(file, kMaxCodeBytes);
  } catch (const Error&) {
    return found;
  }
  size_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line(text.data() + begin, end - begin);
    ++number;
    begin = end + 1;
    if (!line.starts_with("class ")) continue;
    found.push_back({std::string(line.substr(6, line.find_first_of("(:", 6) - 6)), number});
  }
  return found;
}

struct Station {
  const char* part;  // of a class's name
  const char* why;
};
constexpr Station kStations[] = {
    {"DecoderLayer", "order of norms, residuals and their scales"},
    {"Block", "order of norms, residuals and their scales"},
    {"Attention", "projections, norms of q and k, scale, window, what is cached"},
    {"Mixer", "the scan, its state and in which type it is kept"},
    {"RotaryEmbedding", "halves or pairs, which channels, in which type"},
    {"Router", "scores, what is added to them, what is normalised"},
    {"Experts", "how experts are stored, what they compute"},
    {"Moe", "routing and what is shared"},
    {"MLP", "gate, activation, biases"},
    {"Norm", "epsilon, offset, where it rounds"},
};

void add_order(ReferenceSource& source, const fs::path& file, const std::string& class_name) {
  const std::vector<ClassPlace> classes = classes_in(file);
  const std::string name = file.filename().string();
  const auto add = [&](const ClassPlace& place, const char* why) {
    source.order.push_back(fmt::format("{}:{} {}: {}", name, place.line, place.name, why));
  };
  for (const ClassPlace& place : classes) {
    if (place.name == class_name) add(place, "the head, ties, what becomes of the logits");
  }
  for (const ClassPlace& place : classes) {
    if (place.name.ends_with("Model") && place.name.find("PreTrained") == std::string::npos &&
        place.name.find("Vision") == std::string::npos) {
      add(place, "embedding and its scale, masks, the final norm");
    }
  }
  for (const Station& station : kStations) {
    for (const ClassPlace& place : classes) {
      const bool is_other = place.name.find("Vision") != std::string::npos ||
                            place.name.find("Audio") != std::string::npos;
      if (!is_other && place.name.ends_with(station.part)) add(place, station.why);
    }
  }
}

}  // namespace

ReferenceSource find_reference(const ModelFacts& facts, const ConfigKeys& keys,
                               const std::string& python) {
  ReferenceSource source;
  if (const ConfigKey* key = keys.find("transformers_version"))
    source.version = shown_value(*key->node);
  std::erase(source.version, '"');
  if (source.version == "null") source.version.clear();
  source.module_name = safe_name(facts.model_type);
  if (source.module_name.ends_with("_text"))
    source.module_name.resize(source.module_name.size() - 5);
  source.custom_code = custom_file(facts, keys);
  source.url = url_of(source.version, source.module_name);
  const std::string package = source.module_name.empty() ? "" : package_folder(python);
  const std::string file_name = fmt::format("modeling_{}.py", source.module_name);
  if (!package.empty()) {
    const fs::path folder = fs::path(package) / "models" / source.module_name;
    source.local_version = version_of(package);
    std::error_code ignored;
    if (fs::exists(folder / file_name, ignored)) source.local_file = (folder / file_name).string();
    if (fs::exists(folder / ("modular_" + source.module_name + ".py"), ignored)) {
      source.order.push_back(
          fmt::format("modular_{}.py: what it inherits, and from which model", source.module_name));
    }
  }
  if (!source.module_name.empty()) {
    source.order.insert(
        source.order.begin(),
        fmt::format("configuration_{}.py: every default that config.json leaves out",
                    source.module_name));
  }
  const fs::path own = facts.folder / source.custom_code;
  std::error_code ignored;
  if (stays_inside(source.custom_code) && fs::is_regular_file(own, ignored)) {
    add_order(source, own, facts.class_name);
  } else if (!source.local_file.empty()) {
    add_order(source, source.local_file, facts.class_name);
  } else {
    for (const char* line :
         {"the ForCausalLM class: the head, ties, what becomes of the logits",
          "the Model class: embedding and its scale, masks, the final norm",
          "the DecoderLayer class: order of norms, residuals and their scales",
          "the Attention class: projections, norms, scale, window, what is cached",
          "the MLP or experts: gate, activation, routing",
          "the RotaryEmbedding and norms: in which type they compute, where they round"}) {
      source.order.emplace_back(line);
    }
  }
  return source;
}

}  // namespace lockstep::port
