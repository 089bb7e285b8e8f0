// Opening a model: a folder, a Hub id in the cache, or one that is fetched first.
#include "hub/checkpoint.h"
#include "hub/download.h"

namespace lockstep {

ModelFiles ModelFiles::open(const std::string& model) {
  const HubSettings settings = HubSettings::for_model(model);
  const ModelPlace place = find_model(model, settings);
  const std::filesystem::path folder =
      place.is_missing ? download_model(settings, *place.id) : place.folder;
  return {folder, ConfigFile::load(folder / "config.json"), Checkpoint::open(folder)};
}

}  // namespace lockstep
