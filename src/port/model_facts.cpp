#include "port/model_facts.h"

#include <algorithm>
#include <atomic>
#include <string_view>
#include <utility>

#include "base/file.h"
#include "hub/download.h"
#include "hub/http.h"
#include "hub/hub_settings.h"
#include "lockstep/error.h"

namespace lockstep::port {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPipelineIndex = "model_index.json";

std::string text_or_empty(const ConfigFile& config, const char* key) {
  return config.kind(key) == ConfigFile::Kind::kString ? config.get_string(key) : std::string();
}

std::string first_class(const ConfigFile& config) {
  if (config.kind("architectures") != ConfigFile::Kind::kArray ||
      config.length("architectures") == 0) {
    return "";
  }
  return text_or_empty(config, "architectures.0");
}

// Takes the front matter, which is for the Hub, off the card.
std::string take_front_matter(std::string& card) {
  if (!card.starts_with("---\n")) return "";
  const size_t end = card.find("\n---\n", 3);
  if (end == std::string::npos) return "";
  std::string front = card.substr(4, end + 1 - 4);
  card.erase(0, end + 5);
  return front;
}

// Two levels: deep enough for what tells one format from another.
std::vector<std::string> files_in(const fs::path& folder) {
  std::vector<std::string> files;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename().string();
    if (!entry.is_directory(ignored)) {
      files.push_back(name);
      continue;
    }
    for (const fs::directory_entry& inner : fs::directory_iterator(entry.path(), ignored)) {
      if (!inner.is_directory(ignored))
        files.push_back(name + "/" + inner.path().filename().string());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::vector<std::string> files_of(const ModelPlace& place, const HubSettings& settings) {
  if (!place.is_missing) return files_in(place.folder);
  std::atomic<bool> stop{false};
  HttpSession session(settings, stop);
  std::vector<std::string> files;
  for (const HubFile& file : HubRepository(settings, *place.id).list(session).files) {
    files.push_back(file.path);
  }
  return files;
}

ModelFacts describe(const std::string& model, fs::path folder, ConfigFile config) {
  std::string class_name = first_class(config);
  std::string model_type = text_or_empty(config, "model_type");
  const fs::path card_file = folder / "README.md";
  std::error_code ignored;
  std::string card = fs::exists(card_file, ignored) ? read_text_file(card_file) : "";
  std::string front_matter = take_front_matter(card);
  return {.model = model,
          .folder = std::move(folder),
          .config = std::move(config),
          .tensors = {},
          .class_name = std::move(class_name),
          .model_type = std::move(model_type),
          .card = std::move(card),
          .front_matter = std::move(front_matter),
          .files = {},
          .no_tensors = {}};
}

}  // namespace

ModelFacts ModelFacts::open(const std::string& model) {
  fs::path folder = find_model_folder(model);
  ConfigFile config = ConfigFile::load(folder / "config.json");
  ModelFacts facts = describe(model, std::move(folder), std::move(config));
  facts.tensors = list_tensors(model, HubSettings::for_model(model));
  facts.files = files_in(facts.folder);
  return facts;
}

ModelFacts ModelFacts::survey(const std::string& model) {
  const HubSettings settings = HubSettings::for_model(model);
  const ModelPlace place = find_model(model, settings);
  std::vector<std::string> files = files_of(place, settings);
  const auto holds = [&](const char* name) { return std::ranges::binary_search(files, name); };
  if (!holds("config.json") && holds(kPipelineIndex)) {
    ModelFacts facts = describe(model, place.folder, ConfigFile::parse("{}", kPipelineIndex));
    facts.files = std::move(files);
    facts.no_tensors = "a diffusion pipeline, of several models";
    return facts;
  }
  fs::path folder = find_model_folder(model);
  ConfigFile config = ConfigFile::load(folder / "config.json");
  ModelFacts facts = describe(model, std::move(folder), std::move(config));
  facts.files = std::move(files);
  try {
    facts.tensors = list_tensors(model, settings);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kNotFound && error.code() != ErrorCode::kUnimplemented) throw;
    facts.no_tensors = error.message();
  }
  return facts;
}

}  // namespace lockstep::port
