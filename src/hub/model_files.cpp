// Opening a model: a folder, a Hub id in the cache, or one that is fetched first.
#include "hub/checkpoint.h"
#include "hub/download.h"

namespace lockstep {

namespace fs = std::filesystem;

fs::path find_model_folder(const std::string& model) {
  const HubSettings settings = HubSettings::for_model(model);
  ModelPlace place = find_model(model, settings);
  return place.folder.empty() ? download_model(settings, *place.id, DownloadParts::kAllButWeights)
                              : std::move(place.folder);
}

ModelFiles ModelFiles::open(const std::string& model) {
  const HubSettings settings = HubSettings::for_model(model);
  const ModelPlace place = find_model(model, settings);
  const fs::path folder =
      place.is_missing ? download_model(settings, *place.id, DownloadParts::kAll) : place.folder;
  return {folder, ConfigFile::load(folder / "config.json"), Checkpoint::open(folder)};
}

}  // namespace lockstep
