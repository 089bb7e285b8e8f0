#include "port/model_facts.h"

#include <string_view>
#include <utility>

#include "base/file.h"
#include "hub/hub_settings.h"

namespace lockstep::port {
namespace {

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

// The front matter is for the Hub: licence, tags.
std::string without_front_matter(std::string card) {
  if (!card.starts_with("---\n")) return card;
  const size_t end = card.find("\n---\n", 3);
  return end == std::string::npos ? card : card.substr(end + 5);
}

}  // namespace

ModelFacts ModelFacts::open(const std::string& model) {
  std::filesystem::path folder = find_model_folder(model);
  ConfigFile config = ConfigFile::load(folder / "config.json");
  TensorList tensors = list_tensors(model, HubSettings::for_model(model));
  const std::filesystem::path card = folder / "README.md";
  std::string class_name = first_class(config);
  std::string model_type = text_or_empty(config, "model_type");
  return {.model = model,
          .folder = std::move(folder),
          .config = std::move(config),
          .tensors = std::move(tensors),
          .class_name = std::move(class_name),
          .model_type = std::move(model_type),
          .card = std::filesystem::exists(card) ? without_front_matter(read_text_file(card)) : ""};
}

}  // namespace lockstep::port
